"""Times in HTTP headers. Source: RFC 9110, section 5.6.7."""

from __future__ import annotations

import calendar
import functools
import re
import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LAST_SECOND = 253402300799  # of the year 9999: later ones have no four-digit year

_IMF = re.compile(r"[A-Z][a-z]{2}, (?P<d>\d\d) (?P<b>[A-Z][a-z]{2}) (?P<y>\d{4}) (?P<t>\d\d:\d\d:\d\d) GMT")
_RFC850 = re.compile(r"[A-Z][a-z]{5,8}, (?P<d>\d\d)-(?P<b>[A-Z][a-z]{2})-(?P<y>\d\d) (?P<t>\d\d:\d\d:\d\d) GMT")
_ASCTIME = re.compile(r"[A-Z][a-z]{2} (?P<b>[A-Z][a-z]{2}) (?P<d>[ \d]\d) (?P<t>\d\d:\d\d:\d\d) (?P<y>\d{4})")


@functools.lru_cache(maxsize=1024)
def http_date(second: int) -> str | None:
    """Return a Unix time as headers have it, whatever the locale; None for one they cannot hold."""
    if not 0 < second <= _LAST_SECOND:
        return None
    t = time.gmtime(second)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year:04} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"


def second_from_http_date(text: str) -> int | None:
    """Return the Unix time of a date in any of HTTP's three forms; None if it is none."""
    for form in (_IMF, _RFC850, _ASCTIME):
        match = form.fullmatch(text.strip())
        if match is not None and match["b"] in _MONTHS:
            return _second(match, century=form is not _RFC850)
    return None


def _second(match: re.Match[str], *, century: bool) -> int | None:
    year = int(match["y"])
    if not century:
        year += 1900 if year >= 69 else 2000
    hour, minute, second = map(int, match["t"].split(":"))
    day, month = int(match["d"]), _MONTHS.index(match["b"]) + 1
    in_calendar = year >= 1 and 1 <= day <= calendar.monthrange(year, month)[1]
    if not (in_calendar and hour < 24 and minute < 60 and second <= 60):
        return None
    return calendar.timegm((year, month, day, hour, minute, second))
