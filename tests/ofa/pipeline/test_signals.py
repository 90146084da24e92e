"""Ctrl-C and SIGTERM during training: first a wish, then an end."""

import os
import signal
import threading
import time

import pytest

from ofa.pipeline import signals
from ofa.pipeline.signals import catch_stop_signals, deferred_interrupt, raise_for

INT, TERM = signal.SIGINT, signal.SIGTERM
ENDS = {INT: KeyboardInterrupt, TERM: SystemExit}
HANDLED = [INT, TERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])]
needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")


@pytest.fixture(autouse=True)
def handlers():
    """Handlers of our own, which must be there again after every test."""
    caught = []

    def handle(number, _):
        caught.append(number)

    before = {number: signal.signal(number, handle) for number in HANDLED}
    yield caught
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert set(after.values()) == {handle}
    if hasattr(signal, "setitimer"):
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert caught == []


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.001)  # the handler runs before the next instruction of the main thread


def test_nothing_received_signal():
    with catch_stop_signals() as received_signal:
        assert received_signal() == 0
    assert received_signal() == 0


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_is_a_wish(number):
    with pytest.raises(LookupError), catch_stop_signals() as received_signal:
        send(number)
        assert received_signal() == number
        assert received_signal() == number
        raise LookupError  # another reason to end is not hidden


@pytest.mark.parametrize("number", ENDS)
def test_an_unheard_wish_is_kept_at_the_end(number):
    done = False
    with pytest.raises(ENDS[number]) as ended, catch_stop_signals():
        send(number)
        done = True
    assert done
    assert number == INT or ended.value.code == 143


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_a_second_signal_ends_at_once(first, second):
    reached = False
    with pytest.raises(ENDS[first]) as ended, catch_stop_signals():
        send(first)
        send(second)
        reached = True
    assert not reached
    assert first == INT or ended.value.code == 143


@needs_alarm
@pytest.mark.parametrize("number", ENDS)
def test_patience_ends(monkeypatch, number):
    monkeypatch.setattr(signals, "_PATIENCE_SECONDS", 0.05)
    started = time.monotonic()
    with pytest.raises(ENDS[number]), catch_stop_signals():
        send(number)
        assert time.monotonic() - started < 0.05
        time.sleep(5)
    assert 0.05 <= time.monotonic() - started < 4


@needs_alarm
def test_patience_leaves_time_for_a_checkpoint_and_an_end_within_ten_seconds():
    with pytest.raises(KeyboardInterrupt), catch_stop_signals():
        send(INT)
        assert 5 < signal.getitimer(signal.ITIMER_REAL)[0] < 9


def test_one_after_the_other():
    for number, end in ENDS.items():
        with pytest.raises(end), catch_stop_signals() as received_signal:
            assert received_signal() == 0
            send(number)
            assert received_signal() == number


def test_outside_the_main_thread(handlers):
    found = []

    def work():
        with catch_stop_signals() as received_signal:
            found.extend(signal.getsignal(number) for number in HANDLED)
            found.append(received_signal())

    before = [signal.getsignal(number) for number in HANDLED]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [*before, 0]
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_raise_for():
    with pytest.raises(SystemExit) as ended:
        raise_for(TERM)
    assert ended.value.code == 143
    with pytest.raises(KeyboardInterrupt):
        raise_for(INT)


class _Finalised:
    """Gets a Ctrl-C while it is taken down, as data workers may."""

    def __del__(self):
        send(INT)


@pytest.fixture
def default_handler():
    before = signal.signal(INT, signal.default_int_handler)
    yield
    assert signal.signal(INT, before) is signal.default_int_handler


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ctrl_c_that_python_drops_is_heard_later(default_handler):
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as check:
        check()
        _Finalised()  # its exception is ignored: "raise" here would fail the test
        dropped = True
        check()
    assert dropped


def test_a_ctrl_c_raises_at_once(default_handler):
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        send(INT)
        pytest.fail("was not raised")


def test_training_hears_it_first(default_handler):
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as check:
        with pytest.raises(KeyboardInterrupt), catch_stop_signals() as received_signal:
            send(INT)
            assert received_signal() == INT
        check()  # it was no interrupt of ours
        send(INT)


def test_another_handler_stays(handlers):
    with deferred_interrupt() as check:
        send(INT)
        check()
    assert handlers == [INT]
    handlers.clear()


@pytest.mark.parametrize("context", [catch_stop_signals, deferred_interrupt])
def test_what_a_background_shell_ignores_stays_ignored(context):
    before = signal.signal(INT, signal.SIG_IGN)
    try:
        with context() as heard:
            send(INT)
            assert not heard()
        assert signal.getsignal(INT) is signal.SIG_IGN
    finally:
        signal.signal(INT, before)
