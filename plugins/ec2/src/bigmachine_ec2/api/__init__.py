"""How the provider is called: credentials, requests and operations, errors, advice on them."""
