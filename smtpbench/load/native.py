"""A real thread, and real sockets in it, in a process that gevent may have patched."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any


def run_in_native_thread(function: Callable[[], None], name: str) -> None:
    """Run `function` in an operating system thread.

    Locust lets gevent replace `threading`, whose threads are then greenlets that share one event loop
    with everything else; gevent's own thread pool still makes real ones.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        from gevent.threadpool import ThreadPool  # only where gevent is at work already

        ThreadPool(1).spawn(function)
    else:
        threading.Thread(target=function, name=name, daemon=True).start()


def original(module: str, name: str) -> Any:
    """What `name` of a module of the standard library is where gevent has not replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(import_module(module), name) if monkey is None else monkey.get_original(module, name)
