"""Compares cellgate with other proxies: the same work for each, in turn, in one run. docs/performance.md explains it.

    make compare ARGS="--rounds 20 --only small,64k"

It needs Linux, two cores, Python 3.11, and what `setup-tools.sh compare` installs. matplotlib draws the plots;
everything else is the standard library.
"""
