"""What bigmachine does by boto3 and httpx stays out of the logs that users keep of both."""

from __future__ import annotations

import http.server
import logging
import threading

import trio

from bigmachine.system import public_address
from bigmachine_ec2.api._configuration import open_session


def test_search_for_credentials_is_logged_by_user_calls_only(caplog, monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with caplog.at_level(logging.INFO):
        open_session("us-east-1")
        assert caplog.messages == []
        boto3.Session(region_name="us-east-1").get_credentials()
    assert caplog.messages == ["Found credentials in environment variables."]


class Address(http.server.BaseHTTPRequestHandler):
    """Answers with an IP address."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"203.0.113.7\n")

    def log_message(self, *_):
        """Print nothing."""


def test_request_for_public_address_is_not_logged(caplog):
    with http.server.HTTPServer(("127.0.0.1", 0), Address) as server:
        threading.Thread(target=server.handle_request).start()
        with caplog.at_level(logging.INFO):
            url = f"http://127.0.0.1:{server.server_port}"
            assert trio.run(public_address, url) == "203.0.113.7"
    assert caplog.messages == []
