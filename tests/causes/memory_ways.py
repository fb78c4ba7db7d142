"""The gallery's table: bad memory accesses."""

from __future__ import annotations

from .way import Family, Way

NULL = Family(
    "Null pointers",
    "The program used a pointer that was never set, or that a function returned to say \"there is "
    "none\". It is a bug of the program, rarely of the machine: look at the first frame that is "
    "its "
    "own, and at what it did not check. The number after \"plus\" is the place of the member in "
    "the "
    "object, or the index times the size of an element.",
    (
        Way("c", "null_write", "null-pointer", "null",
            "null pointer: {access} at 0x0 ({register} is 0)",
            "The first member of an object, or what the pointer itself points to, at address 0."),
        Way("c", "null_read", "null-pointer", "null-offset",
            "null pointer plus 0x10: {access} at 0x10 ({register} is 0)",
            "A member that stands 16 bytes behind the object's beginning: the object was null."),
        Way("c", "null_array", "null-pointer", "null-offset",
            "null pointer plus 0x186a0: {access} at 0x186a0 ({register} is 0)",
            "An element of an array far behind its beginning: the array was null.",
            certainty="likely"),
        Way("c", "null_cleared", "null-pointer", "null-offset",
            "null pointer plus 0x10: write of 16 bytes at 0x10 ({register} is 0)",
            "A vector register, as for clearing or copying an object.", listed=False),
        Way("c", "null_in_library", "null-pointer", "null",
            "null pointer: {access} at 0x0 (rdi is 0)",
            "In a function of the C library: its caller gave it null (here strlen).", listed=False),
        Way("cc", "null_object", "null-pointer", "null-offset",
            "null pointer plus 0x18: {access} at 0x18 ({register} is 0)",
            "A method or member of a C++ object that was null.", listed=False),
        Way("cc", "null_dynamic", "null-pointer", "null",
            "null pointer: {access} at 0x0 ({register} is 0)",
            "A virtual method of a null object.", listed=False),
        Way("rs", "null_pointer", "null-pointer", "null-offset",
            "null pointer plus 0x18: {access} at 0x18{any}",
            "Unsafe Rust, or C behind it.", listed=False),
        Way("py", "null_string", "null-pointer", "null",
            "null pointer: {access} at 0x0 ({register} is 0)",
            "An extension module or ctypes gave a null pointer to C.",
            detail="Python was in string_at at /", listed=False),
        Way("py", "number_as_pointer", "null-pointer", "null-offset",
            "null pointer plus 0x7: {access} at 0x7",
            "A small number was taken for a pointer: mostly an error code, or null with an offset.",
            detail="rdi is 0x7"),
        Way("c", "null_call", "jump-to-null", "null-call",
            "call through a null function pointer, from {where}",
            "A callback or a method's pointer was never set. The caller is in the line."),
        Way("c", "null_tail_call", "jump-to-null", "null-call",
            "call through a null function pointer, from {any}",
            "The compiler made a jump of a function's last call; so its caller stands in the line.",
            listed=False),
        Way("c", "return_to_null", "jump-to-null", "null-return",
            "return to address 0: the return address was overwritten",
            "A buffer on the stack was overrun with zeros, or the stack pointer went astray.",
            certainty="likely"),
        Way("c", "null_method", "jump-to-null", "null-call",
            "call through a null function pointer, from {where}",
            "A function pointer in an object.", listed=False),
        Way("py", "null_call", "jump-to-null", "null-call",
            "call through a null function pointer, from null_call at ways.py:{number}",
            "By an extension module.", listed=False),
    ),
)  # fmt: skip

NOWHERE = Family(
    "Addresses where nothing is",
    "The pointer is not null, and wrong: overwritten, never set, or led beyond the end of its "
    "memory. The line says beyond which end where that is near. If the same program dies here at "
    "other addresses each time, suspect memory that was overwritten long before; AddressSanitizer "
    "or valgrind finds where.",
    (
        Way("c", "wild_read", "bad-address", "not-mapped",
            "{access} at 0x123456789000, not mapped",
            "Nothing is there, and nothing near: the pointer's value is wrong altogether."),
        Way("c", "failed_map", "bad-address", "error-value",
            "{access} at 0xf: the pointer is −1, as mmap() returns when it fails (MAP_FAILED)",
            "The result of mmap() (or shmat(), sbrk()) was not compared with −1."),
        Way("c", "error_number", "bad-address", "error-value",
            "{access} at 0xe: the pointer is −2: an error number (ENOENT), or null less 2",
            "A function that gives an error number in the place of a pointer, unchecked.",
            certainty="likely"),
        Way("c", "cut_pointer", "bad-address", "not-mapped",
            "{access} at 0x12345000, not mapped",
            "The upper half of a pointer is lost: it was kept in an int, or came from a function "
            "without a declaration.",
            detail="It may be the lower half of 0x2aab12345000, in anonymous memory"),
        Way("py", "bad_address", "bad-address", "not-mapped",
            "{access} at 0x123456789000, not mapped", "From Python.", listed=False),
        Way("c", "past_end", "bad-address", "past-end",
            "{access} at {address}, not mapped, right behind the end of {memory}",
            "A loop ran on and on to the end of its memory: its end condition is wrong, or a "
            "length "
            "was."),
        Way("c", "negative_index", "bad-address", "negative-index",
            "{access} at {address}, by index -3 from {address} in {memory}",
            "An array was used with an index below 0: often a −1 that meant \"not found\"."),
        Way("c", "unsigned_index", "bad-address", "negative-index",
            "{access} at {address}, by index 4294967294 (-2 as a number of 32 bits) from {address} "
            "in {memory}",
            "An unsigned number went below 0, and was taken for a very large index."),
        Way("c", "large_index", "bad-address", "large-index",
            "{access} at {address}, by index 50000000 from {address} in {memory}",
            "An index far beyond the array: not checked, or read from damaged data."),
        Way("c", "unmapped", "bad-address", "not-mapped",
            "{access} at {address}, not mapped{any}",
            "Memory that was given back with munmap(), or a large block after free()."),
        Way("c", "flipped_bit", "bad-address", "not-mapped",
            "{access} at {address}, not mapped",
            "One bit makes the pointer a good one. Once: perhaps a memory error (look at the "
            "machine's error counters, run a memory test). Again and again: software.",
            detail="With one bit changed (bit 45)"),
        Way("c", "non_canonical", "bad-address", "non-canonical",
            "{access} at 0xff000012345688, an impossible (non-canonical) address",
            "No process can have this address: the pointer was overwritten with something else."),
        Way("c", "text_in_pointer", "bad-address", "non-canonical",
            "{access} at {address}, an impossible (non-canonical) address",
            "The pointer holds text: a string was copied over the object. The text is quoted in "
            "the "
            "details; where it comes from is a hint to the bug. If it came over the network, treat "
            "it as an attack until it is clear.", detail='the text "GET /ind"'),
        Way("c", "wide_text", "bad-address", "non-canonical",
            "{access} at {address}, an impossible (non-canonical) address",
            "The same with characters of two bytes.", detail='the text "NAME" in UTF-16',
            listed=False),
        Way("c", "filler", "bad-address", "non-canonical",
            "{access} at {address}, an impossible (non-canonical) address",
            "The pointer holds what debuggers fill unset memory with: it was used before it was "
            "set.",
            detail="uninitialized heap (0xcd…)"),
        Way("c", "bad_stack_pointer", "bad-address", "not-mapped",
            "write of 8 bytes at 0x122ff8, not mapped",
            "The stack pointer itself is bad: assembler, a broken coroutine or a restored context.",
            detail="The stack pointer 0x123000 is bad"),
    ),
)  # fmt: skip

FORBIDDEN = Family(
    "Memory that may not be touched so",
    "Something is there, but not for this kind of access.",
    (
        Way("c", "write_constant", "bad-address", "read-only",
            "write of 1 byte at {address}, in read-only data of {program}",
            "A constant, often a string literal, was changed in place."),
        Way("c", "write_protected", "bad-address", "read-only",
            "write of 1 byte at {address}, in anonymous memory, which is read only",
            "The program protected this memory itself (mprotect), and wrote to it later."),
        Way("c", "write_code", "bad-address", "write-to-code",
            "write of 1 byte at {address}, in the code of {program}, which is read only",
            "A write to the program's own code: a wild pointer, or a function's address taken for "
            "that of data."),
        Way("c", "read_forbidden", "bad-address", "no-access",
            "read of 1 byte at {address}, {any}memory{any}",
            "Memory that was reserved, and not yet or no more in use (PROT_NONE)."),
        Way("c", "guard_page", "bad-address", "guard-page",
            "write of 1 byte at {address}, in the guard below the stack of thread {number} "
            "(librarian)",
            "Another thread's stack was overrun from outside, or the pointer is just wrong."),
        Way("c", "misaligned_vector", "bad-address", "misaligned",
            "misaligned operand: movaps needs a multiple of 16, not {address}",
            "A vector instruction that needs aligned memory: wrong alignment promised to the "
            "compiler, or a stack that hand-written code left unaligned."),
        Way("c", "misaligned_operand", "bad-address", "misaligned",
            "misaligned operand: paddd needs a multiple of 16, not {address}",
            "The same of other instructions of SSE.", listed=False),
        Way("c", "damaged_signal_frame", "bad-address", "bad-signal-frame",
            "the kernel could not return from a signal's handler: its frame on the stack is bad",
            "A handler, or what it called, wrote past its own part of the stack.",
            certainty="likely"),
        Way("c", "no_stack_for_handler", "bad-address", "no-signal-stack",
            "the kernel could not start the handler of a signal: there was no room for its frame",
            "The alternate signal stack (sigaltstack) is bad or too small: with AVX-512 or AMX it "
            "must be larger than SIGSTKSZ used to be.", certainty="likely"),
    ),
)  # fmt: skip

FREED = Family(
    "Freed memory",
    "The program used an object after it had given it back. What is in the pointer shows it: glibc "
    "leaves its own marks in freed blocks, debugging allocators fill them with their "
    "patterns. It is always a bug of the program (or of a library that keeps an object too long). "
    "AddressSanitizer names who freed it. Treat it as exploitable.",
    (
        Way("c", "freed_last", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, not mapped",
            "The object's first member was followed after free(): it holds glibc's mark for the "
            "last "
            "block of a list.", certainty="likely", detail="in a freed block of 40 bytes"),
        Way("c", "freed_next", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, {any}",
            "The same in the middle of glibc's list.", certainty="likely",
            detail="in a freed block of 40 bytes", listed=False),
        Way("c", "freed_title", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, an impossible (non-canonical) address",
            "The object's second member: it holds glibc's random key.", certainty="likely",
            detail="in a freed block of 40 bytes", plain=False),
        Way("c", "freed_second_word", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, an impossible (non-canonical) address",
            "The same.", certainty="likely", listed=False),
        Way("c", "freed_call", "jump-to-bad-address", "freed-memory",
            "use of freed memory: jump to {address}, not mapped, from {where}",
            "A function pointer in a freed object was called.", certainty="likely"),
        Way("c", "freed_large_call", "jump-to-bad-address", "freed-memory",
            "use of freed memory: jump to {address}, in {any}, from {where}",
            "The same in a larger object: it holds a link of glibc's lists of such blocks.",
            certainty="likely", detail="stands in a freed block", listed=False),
        Way("i386", "freed_small", "jump-to-bad-address", "freed-memory",
            "use of freed memory: jump to {address}, not mapped, from {where}",
            "The same in a program of 32 bits.", certainty="likely",
            detail="in a freed block of 44 bytes", listed=False),
        Way("musl", "freed_with_its_title", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, not mapped{any}",
            "The object's member was followed after both were freed: musl marks a freed block.",
            certainty="likely", detail="stands in a freed block at"),
        Way("jemalloc", "freed", "jump-to-bad-address", "freed-memory",
            "use of freed memory: call to 0x5a5a5a5a5a5a5a5a, an impossible (non-canonical) "
            "address",
            "With MALLOC_CONF=junk:true jemalloc fills what is freed with 0x5a.",
            certainty="likely", detail="freed memory (0x5a…, as jemalloc fills it)"),
        Way("jemalloc", "never_set", "bad-address", "non-canonical",
            "{access} at 0xa5a5a5a5a5a5a5a8, an impossible (non-canonical) address",
            "And new memory with 0xa5: this was never set.",
            detail="uninitialized memory (0xa5…, as jemalloc gives it out)"),
        Way("perturb", "freed", "jump-to-bad-address", "freed-memory",
            "use of freed memory: call to 0x6969696969696969, an impossible (non-canonical) "
            "address",
            "With MALLOC_PERTURB_=105 glibc fills what is freed with that byte (0x69), and new "
            "memory with its complement.",
            certainty="likely", detail="freed memory (0x69…, by MALLOC_PERTURB_)"),
        Way("perturb", "never_set", "bad-address", "non-canonical",
            "{access} at 0x9696969696969699, an impossible (non-canonical) address",
            "Its complement: this was never set.",
            detail="uninitialized memory (0x96…, by MALLOC_PERTURB_)", listed=False),
        Way("c", "slab_poison", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, an impossible (non-canonical) address",
            "A pattern, and a member's place.", certainty="likely",
            detail="freed memory (0x6b…), plus 0x20", listed=False),
        Way("cc", "freed_object", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, not mapped",
            "A virtual method of a deleted object.", certainty="likely", listed=False),
        Way("c", "freed_poisoned", "bad-address", "freed-memory",
            "use of freed memory: {access} at {address}, an impossible (non-canonical) address",
            "The pointer is a pattern with which freed memory was filled (0xdd…, 0xfeee…, 0x5a… of "
            "jemalloc).", certainty="likely", detail="freed memory (0xdd…)", listed=False),
        Way("c", "list_poison", "bad-address", "freed-memory",
            "use of freed memory: {access} at 0xdead000000000110, an impossible (non-canonical) "
            "address",
            "An element that was taken out of a list (as of the Linux kernel's kind) and used.",
            certainty="likely", detail="a list's poison"),
    ),
)  # fmt: skip

NO_CODE = Family(
    "Calls and jumps to what is no code",
    "A function pointer, a virtual table or a return address was overwritten. If the address is in "
    "data that came from outside, treat it as an attack until it is clear.",
    (
        Way("c", "call_wild", "jump-to-bad-address", "not-mapped",
            "jump to 0x1234567000, not mapped, from {where}",
            "A function pointer that was never set or overwritten. The caller is in the line."),
        Way("c", "call_heap", "jump-to-bad-address", "not-executable",
            "jump to {address}, in {memory}, from {where}",
            "Data was called as if it were a function; the heap and the stack are not executable.",
            detail="Data is not executable"),
        Way("c", "call_stack", "jump-to-bad-address", "not-executable",
            "jump to {address}, in {memory}, from {where}", "The same, on the stack.",
            listed=False),
        Way("c", "return_to_text", "jump-to-bad-address", "non-canonical",
            "return to 0x4141414141414141, an impossible (non-canonical) address",
            "A return address on the stack was overwritten, here by text: a buffer on the stack "
            "overran.", detail='the text "AAAAAAAA"'),
        Way("c", "end_of_code_beside_data", "jump-to-bad-address", "end-of-code",
            "execution ran past the end of the code at {address}",
            "The same, with data behind it.", certainty="likely", listed=False),
        Way("c", "end_of_code", "jump-to-bad-address", "end-of-code",
            "execution ran past the end of the code at {address}",
            "Code that does not end: made at run time, or damaged.", certainty="likely"),
    ),
)  # fmt: skip

STACK = Family(
    "The stack",
    "Without an end to its recursion no limit is large enough; with one, `ulimit -s`, LimitSTACK= "
    "of "
    "the unit or the thread's stack size may help.",
    (
        Way("c", "overflow", "stack-overflow", "recursion",
            "stack overflow: {whose} of {size} is used up, by {number} calls of recursion",
            "A function that calls itself without end: the line names it."),
        Way("c", "overflow_of_two", "stack-overflow", "recursion",
            "stack overflow: {whose} of {size} is used up, by {number} rounds of {any}",
            "Functions that call each other without end."),
        Way("c", "large_array", "stack-overflow", "no-room",
            "stack overflow: {whose} has no room for the {size} that large_array takes at once",
            "Local variables that are larger than the stack."),
        Way("rs", "stack", "stack-overflow", "recursion",
            "stack overflow: {whose} of {size} is used up, by {number} calls of ways::deeper",
            "Rust catches the fault and aborts: SIGABRT.", listed=False,
            detail="handler caught SIGSEGV and ended the program"),
        Way("py", "endless_recursion", "stack-overflow", "recursion",
            "stack overflow: {whose} of {size} is used up, by {number} rounds of {any}",
            "Python code, with the recursion limit raised too far.", listed=False),
    ),
)  # fmt: skip

BEHIND = Family(
    "Memory without anything behind it (SIGBUS)",
    "The address is mapped, but the file's page, the shared memory or the huge page is not to be "
    "had.",
    (
        Way("c", "truncated_file", "bus-error", "past-end-of-file",
            "read of 1 byte at {address}, in a part of {any} behind its end: it has 4196 bytes, "
            "and "
            "this is byte 12,293",
            "The file was cut while the program had it mapped: somebody replaced it in place "
            "(`cp`, an editor, a rotation with copytruncate) instead of renaming a new one over "
            "it.",
            detail="Its path is /var/tmp/catalogue-"),
        Way("c", "truncated_code", "bus-error", "past-end-of-file",
            "execution at {address}, in a part of memfd:plugin behind its end: it has 4 KiB, and "
            "this is byte 4,096",
            "The file of a program or library that runs was cut, as by `cp` over it.",
            listed=False),
        Way("c", "short_memfd", "bus-error", "past-end-of-file",
            "read of 1 byte at {address}, in a part of memfd:shelf behind its end: it has 100 "
            "bytes, "
            "and this is byte 4,097",
            "Shared memory that was never made as large as its mapping (ftruncate).", listed=False),
        Way("c", "full_tmpfs", "bus-error", "no-space",
            "write of 1 byte at {address}, in a part of index for which there is no memory: its "
            "tmpfs is full",
            "/dev/shm, /tmp or another tmpfs is full: `df`, its option size=, the container's shm "
            "size.", detail="/mnt/index"),
        Way("c", "no_huge_page", "bus-error", "no-huge-page",
            "write of 1 byte at {address}: no huge page is left for it",
            "vm.nr_hugepages is too small for what runs here.", certainty="likely"),
        Way("c", "alignment_check", "bus-error", "misaligned",
            "misaligned read of 4 bytes at {address}",
            "Code that sets the processor's alignment check; on other machines: any misaligned "
            "access."),
    ),
)  # fmt: skip

FAMILIES = (NULL, NOWHERE, FORBIDDEN, FREED, NO_CODE, STACK, BEHIND)
