/* A native method that writes where it is told. */

__attribute__((noinline)) static void store(long at) { *(volatile long *)at = 42; }

void Java_Shop_poke(void *environment, void *class, long at) {
    store(at);
    __asm__ volatile("");
}
