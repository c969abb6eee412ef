import io

from codeintel.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    stream, now = Terminal(), [0.0]
    show = show_progress(stream, lambda: now[0])
    show(1, 4)
    assert stream.getvalue() == ""  # not before there is something to wait for
    now[0] = 0.2
    show(2, 4)
    assert stream.getvalue() == f"\r[{'#' * 20}{' ' * 20}] 2 of 4 files"
    show(3, 4)
    show(4, 4)
    assert stream.getvalue().endswith("2 of 4 files\r\x1b[K")


def test_a_log_gets_a_line_now_and_then() -> None:
    stream, now = io.StringIO(), [0.0]
    show = show_progress(stream, lambda: now[0])
    for done in range(26):
        now[0] = done
        show(done, 25)
    assert stream.getvalue() == "10 of 25 files\n20 of 25 files\n"


def test_nothing_to_do_is_no_division_by_zero() -> None:
    now = [0.0]
    show = show_progress(io.StringIO(), lambda: now[0])
    now[0] = 99.0
    show(0, 0)
