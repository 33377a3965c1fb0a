"""One module per family of peers: each offers what `bench.contenders` describes."""
