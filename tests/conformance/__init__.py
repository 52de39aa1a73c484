"""The wire as its clients see it, over real sockets: one behaviour per test.

`@pytest.mark.line(N)` names the line of the compliance checklist (docs/compatibility.md) that a test shows. Tests that
use the fixtures `wire` or `processes` run once per wire, those that use `client` or `over_connect` once per codec of
Connect.

Lines of transport (1 to 42), access (43 to 72), the sandbox over REST (132 to 141) and processes (171 to 206) that are
not shown here, or not in full:

====  ======================================================================================================
line  why
====  ======================================================================================================
15    already_exists and failed_precondition: only the filesystem and pty.Pty answer with these
19    the field `size` is the filesystem's; the rule is shown with the 64-bit fields of process events
35    WatchDir is the filesystem's; the deadline of a stream is shown with Connect on a silent program
38    ten minutes are not waited for: the limit is read from the configuration, and a short idleness is shown
59    another token that a metadata service vouches for: there is no such service yet
60    taking the token away with its blessing: the same
132   the processors' share itself is shown in tests/unit/test_metrics.py
141   the address of an event service is accepted and has no effect yet
====  ======================================================================================================

Improved on purpose, and tested as improved: 188 (what nobody took is replayed), 189 (ten minutes; only the presence
after the exit is shown), 199 (any signal by number), 202 (the tree is killed, and End says why), 206 (End comes after
a short drain and names who holds the output).
"""
