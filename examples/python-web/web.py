"""A web service with one page. `--check` asks for it once, without a socket."""

import sys

from bottle import Bottle, run

app = Bottle()


@app.get("/")
def page():
    return "hello from bottle\n"


def check():
    status = []

    def start(line, headers, exc_info=None):
        status.append(line)

    request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.errors": sys.stderr}
    body = b"".join(app(request, start))
    print(status[0], body.decode().strip())
    return 0 if status[0].startswith("200") else 1


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(check())
    run(app, host="0.0.0.0", port=8080)
