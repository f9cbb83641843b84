"""What `bigmachine.system` has for the systems of clouds: it does without trio.

`_cloud_options` are the options of all clouds, `_vm_options` those of large ones;
`_driver_address` is what a firewall must let in. All else that clouds share is in
`bigmachine.cloud`, which is above `boot`, and imports trio.
"""
