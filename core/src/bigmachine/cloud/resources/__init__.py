"""The resources of a session at its provider: their names, what they say of it, their end.

`_session_resources` knows and frees them; `_immortal` warns of those that outlive their session.
Their names: `_resource_names`, `_machine_names`; what else they say: `_session_facts`.
"""
