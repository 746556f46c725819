"""Helpers for tests with real processes: start, kill, stop and await them, and let none outlive its test."""

from tests.support.ports import free_port
from tests.support.program import Program, run
from tests.support.servers import ServerMissing, server_url
from tests.support.waiting import TimedOut, patient, wait_for
from tests.support.worker import Worker

__all__ = ["Program", "ServerMissing", "TimedOut", "Worker", "free_port", "patient", "run", "server_url", "wait_for"]
