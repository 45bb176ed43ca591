"""Compares cellgate with other proxies: the same work for each, in turn, in one run. docs/performance.md explains it.

    make compare ARGS="--rounds 20 --only small,large"

Only what `setup-tools.sh compare` installs is needed besides Python 3.11; matplotlib draws the plots, and everything else
is the standard library.
"""
