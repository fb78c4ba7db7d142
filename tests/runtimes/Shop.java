// Brings its virtual machine down, in the way that the first argument says.

import java.lang.reflect.Field;
import java.util.List;
import sun.misc.Unsafe;

public class Shop {
    static Unsafe unsafe;

    static native void poke(long at);

    static void store(long at) {
        unsafe.putLong(at, 42L);
    }

    static void order(int depth) {
        if (depth == 0) store(0);
        else order(depth - 1);
    }

    static int call(int depth, long[] sums) {
        for (int i = 0; i < 3; i++) sums[0] ^= i * depth;
        if (depth == 0) {
            poke(8);
            return 0;
        }
        return call(depth - 1, sums) + 1;
    }

    static long sum(long base, int count) {
        long total = 0;
        for (int i = 0; i < count; i++) total += unsafe.getLong(base + (i % 4) * 8L) + i;
        return total;
    }

    static long sumOnce(long base, int count) {
        return sum(base, count) + 1;
    }

    public static void main(String[] arguments) throws Exception {
        Field field = Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        unsafe = (Unsafe) field.get(null);
        switch (arguments[0]) {
            case "thread" -> {
                Thread worker = new Thread(() -> order(3), "order, [worker] \"1\"");
                worker.start();
                worker.join();
            }
            case "native" -> {
                System.load(arguments[1]);
                List.of("one").forEach(name -> call(2, new long[1]));
            }
            case "compiled" -> {
                long memory = unsafe.allocateMemory(64);
                long total = 0;
                for (int i = 0; i < 30000; i++) total += sumOnce(memory, 50);
                System.out.println(total + sumOnce(16, 50));
            }
        }
    }
}
