/* A program without a C library that crashes four functions deep: its core is small enough to be
 * kept. */
#define KEEP __attribute__((noinline, noclone, used))
#define HERE __asm__ volatile("") /* no call before it becomes a jump */
#ifdef __sparc__
#define TO_STACK __asm__ volatile("flushw"); /* the kernel does so before it dumps, qemu does not */
#else
#define TO_STACK
#endif

static int *volatile nowhere = (int *)16;

KEEP int leaf(int *pointer) { TO_STACK return *pointer; }

KEEP int inner(int value) {
    int result = leaf(nowhere);
    HERE;
    return result + value;
}

KEEP int middle(int value) {
    volatile int room[20];
    room[value & 15] = inner(value + 1);
    HERE;
    return room[value & 15];
}

KEEP void _start(void) {
    middle(3);
    for (;;) HERE;
}

KEEP void __start(void) { _start(); } /* MIPS calls it so */
