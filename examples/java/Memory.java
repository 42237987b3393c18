import java.util.ArrayList;
import java.util.List;

// Takes one megabyte after another, until Java's heap is full.
public class Memory {
    public static void main(String[] arguments) {
        List<byte[]> blocks = new ArrayList<>();
        while (true) {
            blocks.add(new byte[1 << 20]);
        }
    }
}
