"""The caller's end of the wire. `bigmachine.rpc` exports what other packages use."""
