"""The wire as its clients see it, over real sockets: one behaviour per test.

`@pytest.mark.line(N)` names the line of the compliance checklist (docs/compatibility.md) that a test shows. Tests that
use the fixtures `client` or `processes` run once per codec.

Lines of transport (1 to 41) and processes (171 to 206) that are not shown here, or not in full:

====  ======================================================================================================
line  why
====  ======================================================================================================
15    already_exists and failed_precondition: only the filesystem and pty.Pty answer with these
19    the field `size` is the filesystem's; the rule is shown with the 64-bit fields of process events
35    WatchDir is the filesystem's; the deadline of a stream is shown with Connect on a silent program
36    "no authentication needed" is shown with an unknown user, as tokens are not there yet
38    ten minutes are not waited for: the limit is read from the configuration, and a short idleness is shown
42    gRPC-Web is not there yet
====  ======================================================================================================

Improved on purpose, and tested as improved: 188 (what nobody took is replayed), 189 (ten minutes; only the presence
after the exit is shown), 199 (any signal by number), 202 (the tree is killed, and End says why), 206 (End comes after
a short drain and names who holds the output).
"""
