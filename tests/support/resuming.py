"""A run that is resumed, and a host that must not receive its key."""

import contextlib
import socket
import threading

import commands

import evalkit as ek

SECRET = "tkSECRETofThisMachine42"
VARIABLE = "CLOUD_SECRET_KEY"


class Listener:
    """A stranger's host, and what it received."""

    def __init__(self):
        self.received = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.received.append(connection.recv(65536))

    def close(self):
        self._socket.close()


def evalkit(*arguments, **env):
    return commands.evalkit(*arguments, env=env)


def answered(path):
    return int((ek.Run(path).turns()["status"] == "answered").sum())
