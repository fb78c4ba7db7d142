"""The gallery's table: checks of libraries, C++ exceptions."""

from __future__ import annotations

from .way import Family, Way

LIBRARIES = Family(
    "Checks of libraries",
    "A library found that it was used wrongly, and said so before it ended the program. Condition, "
    "file and line are those of the library, the function named is the program's own.",
    (
        Way("cc", "checked_index", "abort", "assertion",
            "an assertion of the C++ library failed, by {where}: stl_vector.h:{number}: __n < "
            "this->size()",
            "Built with -D_GLIBCXX_ASSERTIONS: an index outside of a vector, here."),
        Way("cc", "checked_pointer", "abort", "assertion",
            "an assertion of the C++ library failed, by {where}: unique_ptr.h:{number}: get() != "
            "pointer()", "The same of a std::unique_ptr without anything in it.", listed=False),
        Way("libcxx", "checked_index", "abort", "assertion",
            "an assertion of the C++ library failed, by {where}: vector:{number}: __n < size()",
            "The same with libc++ (_LIBCPP_DEBUG, hardening).", listed=False),
        Way("musl", "assertion", "abort", "assertion",
            'assertion failed: heaps.c:{number}: sink == 4 && "books"',
            "assert() of musl, which keeps no text: it was read from the code of the call."),
        Way("qt", "fatal", "abort", "fatal-log",
            "qFatal() was called, by {where}: no shelf 12 of möbel for 2.50",
            "A fatal message of a program with Qt. The text was made again of its form and its "
            "values."),
        Way("qt", "many", "abort", "fatal-log",
            "qFatal() was called, by {where}: -1 2 3f x     a|b    |4 -5 4 % 0x0 12",
            "All kinds of values.", listed=False),
        Way("qt", "warned", "abort", "fatal-log",
            "a message of Qt's that ends the program, by {where}: only a warning of shelf 12",
            "A warning with QT_FATAL_WARNINGS in the environment."),
        Way("qt", "failed", "abort", "assertion",
            'a Qt assertion failed, by {where}: ASSERT: "books > 0" in file shelf.cc, line 42',
            "Q_ASSERT()."),
        Way("qt", "failed_with_words", "abort", "assertion",
            "a Qt assertion failed, by {where}: ASSERT failure in shelf::put: "
            '"a book twice", file shelf.cc, line 43', "Q_ASSERT_X().", listed=False),
        Way("qt5", "fatal", "abort", "fatal-log",
            "qFatal() was called, by {where}: no shelf 12 of möbel for 2.50", "Qt 5.",
            listed=False),
        Way("qt5", "warned", "abort", "fatal-log",
            "a message of Qt's that ends the program, by {where}: only a warning of shelf 12",
            "Qt 5.", listed=False),
        Way("qt5", "failed", "abort", "assertion",
            'a Qt assertion failed, by {where}: ASSERT: "books > 0" in file shelf.cc, line 42',
            "Qt 5.", listed=False),
    ),
)  # fmt: skip

EXCEPTIONS = Family(
    "C++ exceptions",
    "The type and, where the object keeps one, the text were read from the exception itself. "
    "Compare with the program's own log at that time.",
    (
        Way("cc", "runtime_error", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::runtime_error: "no such shelf: 12", thrown in '
            "{where}",
            "Nobody catches this exception: a wrong input or a missing file may be enough."),
        Way("cc", "logic_error", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::logic_error: "a book twice", thrown in {where}',
            "The program contradicts itself: a bug.", listed=False),
        Way("cc", "own_exception", "abort", "uncaught-exception",
            'C++ exception that nobody caught: library::closed: "the library is closed until '
            'Monday '
            'morning at nine", thrown in {where}',
            "A type of the program's own, made from a standard one: the text is that one's."),
        Way("cc", "own_struct", "abort", "uncaught-exception",
            "C++ exception that nobody caught: library::fine, thrown in {where}",
            "A type of the program's own that keeps no text we know of."),
        Way("cc", "thrown_text", "abort", "uncaught-exception",
            'C++ exception that nobody caught: char const*: "shelf is full", thrown in {where}',
            "A plain text was thrown.", listed=False),
        Way("cc", "thrown_string", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::string: "shelf", thrown in {where}',
            "A std::string was thrown.", listed=False),
        Way("cc", "thrown_number", "abort", "uncaught-exception",
            "C++ exception that nobody caught: int: -42, thrown in {where}",
            "A number was thrown."),
        Way("cc", "out_of_range", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::out_of_range: "vector::_M_range_check: __n '
            '(which '
            'is 7) >= this->size() (which is 3)", thrown in {any}',
            "at() with a wrong index."),
        Way("cc", "bad_alloc", "abort", "uncaught-exception",
            "C++ exception that nobody caught: std::bad_alloc, thrown in {any}",
            "Out of memory, or an absurd size: look at limits, memory.max of the cgroup, and at "
            "what was asked for."),
        Way("cc", "system_error", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::system_error: "catalogue: No such file or '
            'directory", thrown in {where}',
            "A system call failed: the text says why."),
        Way("cc", "rethrown", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::range_error: "page 1000 of 12", thrown again '
            'in '
            "{where}",
            "It was caught and thrown again; where it came from first is lost."),
        Way("cc", "second_exception", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::runtime_error: "the second one", thrown in '
            "{where}",
            "One that was caught before is not confused with it.", listed=False),
        Way("cc", "through_noexcept", "abort", "noexcept",
            'C++ exception left a function that may not throw: std::runtime_error: "promised not '
            'to", thrown through {where}',
            "A function marked noexcept (as destructors are) let an exception out."),
        Way("cc", "terminated", "abort", "terminate", "std::terminate(), called by {where}",
            "std::terminate() without an exception."),
        Way("cc", "running_thread", "abort", "joinable-thread",
            "std::thread destroyed while it still ran, in {where}",
            "A std::thread went out of scope without join() or detach().", plain=False),
        Way("cc", "pure_virtual", "abort", "pure-virtual",
            "a pure virtual function was called, by {where}",
            "A virtual method was called while the object was being made or destroyed."),
        Way("cc", "own_text", "abort", "uncaught-exception",
            'C++ exception that nobody caught: library::lost, which holds the text "the second '
            'volume of three, in oak", thrown in {where}',
            "A type of the program's own with a std::string: what its what() makes of it is not "
            "known."),
        Way("cc", "other_words", "abort", "uncaught-exception",
            'C++ exception that nobody caught: library::renamed, which holds the text "the old '
            'name", thrown in {where}',
            "Its what() says something else than the standard type's.", listed=False),
        Way("cc", "out_of_handler", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::logic_error: "while that was handled", thrown '
            "in {where}",
            "Thrown while another one was handled.", listed=False),
        Way("cc", "kept", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::range_error: "the real one", thrown in {where}',
            "Another one that was caught is still kept by a std::exception_ptr.", listed=False),
        Way("cc", "nested", "abort", "uncaught-exception",
            "C++ exception that nobody caught: std::_Nested_exception<std::logic_error>, which "
            'holds the text "outer", thrown in {where}',
            "std::throw_with_nested().", listed=False),
        Way("cc", "nothing_again", "abort", "uncaught-exception",
            "an exception thrown again that nobody caught, or there was none, thrown again in "
            "{where}",
            "throw; outside of a handler, mostly: no exception was found in memory."),
        Way("cc", "terminated_in_handler", "abort", "terminate",
            "std::terminate(), called by {where}, while an exception was handled: "
            'std::runtime_error: "being handled"',
            "std::terminate() in a handler."),
        Way("cc", "terminated_after", "abort", "terminate", "std::terminate(), called by {where}",
            "The exception that is still kept is not being handled any more.", listed=False),
        Way("cc", "assigned_thread", "abort", "joinable-thread",
            "std::thread was given another thread while it still ran, in {where}",
            "Assigned to without join() or detach().", plain=False),
        Way("libcxx", "runtime_error", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::runtime_error: "no such shelf: 12", thrown in '
            "{where}", "The same with libc++.", listed=False),
        Way("libcxx", "thrown_string", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::string: "shelf", thrown in {where}',
            "The same with libc++.", listed=False),
        Way("libcxx", "own_text", "abort", "uncaught-exception",
            'C++ exception that nobody caught: library::lost, which holds the text "the second '
            'volume of three, in oak", thrown in {where}', "The same with libc++.", listed=False),
        Way("libcxx", "out_of_handler", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::logic_error: "while that was handled", thrown '
            "in {where}", "The same with libc++.", listed=False),
        Way("libcxx", "kept", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::range_error: "the real one", thrown in {where}',
            "The same with libc++.", listed=False),
        Way("libcxx", "rethrown", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::range_error: "page 1000 of 12", thrown again '
            "in {where}", "The same with libc++.", listed=False),
        Way("libcxx", "system_error", "abort", "uncaught-exception",
            "C++ exception that nobody caught: std::__1::system_error: "
            '"catalogue: No such file or directory", thrown in {where}',
            "The same with libc++.", listed=False),
        Way("libcxx", "out_of_range", "abort", "uncaught-exception",
            'C++ exception that nobody caught: std::out_of_range: "vector", thrown in {where}',
            "The same with libc++.", listed=False),
        Way("libcxx", "through_noexcept", "abort", "noexcept",
            'C++ exception left a function that may not throw: std::runtime_error: "promised not '
            'to", thrown through {where}', "The same with libc++.", listed=False),
        Way("libcxx", "terminated", "abort", "terminate", "std::terminate(), called by {where}",
            "The same with libc++.", listed=False),
        Way("libcxx", "pure_virtual", "abort", "pure-virtual",
            "a pure virtual function was called, by {where}", "The same with libc++.",
            listed=False),
    ),
)  # fmt: skip
