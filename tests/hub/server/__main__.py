"""A Hub to play with: `python -m tests.hub.server --port 8765`; paste the printed line into another shell."""

from __future__ import annotations

import argparse
import signal
import time

from .running import HubServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--user", default="me", help="the account that the token belongs to")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with HubServer(options.port) as hub:
        token = hub.store.add_user(options.user)
        print(f"export HF_ENDPOINT={hub.endpoint} HF_HUB_DISABLE_XET=1 HF_TOKEN={token}", flush=True)
        print(f"# user {options.user}; content is forgotten when this stops (Ctrl-C)", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
