"""Stands for `python script.py` below an audit, without the import of TensorFlow: has the tests'
fork server run the script, and lives as long.

`starter.py SOCKET SCRIPT [ARGUMENT...]`. SIGTERM is passed on; where this process is killed, the
server kills the script.
"""

import json
import os
import signal
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
streams = {
    name: f"/proc/{os.getpid()}/fd/{number}" for number, name in ((1, "stdout"), (2, "stderr"))
}
request = {
    "argv": sys.argv[2:],
    "function": None,
    "args": [],
    "root": os.getcwd(),
    "fresh": False,
    "cwd": os.getcwd(),
    "env": dict(os.environ),
    "dies_with_asker": True,
    **streams,
}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
connection.sendall(json.dumps(request).encode() + b"\n")
lines = connection.makefile()
pid = json.loads(next(lines))["pid"]
signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
code = json.loads(next(lines))["code"]
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
