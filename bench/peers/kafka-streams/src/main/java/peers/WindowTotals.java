package peers;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/**
 * The aggregate of one window of one model, with a quantile sketch of the latencies.
 *
 * <p>A state store holds bytes, so the aggregate is read and written once an event: what counts is how cheaply a sketch
 * becomes bytes. Counts in logarithmic buckets (as DDSketch, 1 %) are a bulk copy of one array, whereas encoding
 * an HdrHistogram, a t-digest or a DataSketches sketch walks or compresses it, once an event.
 */
final class WindowTotals {

    private static final double GAMMA_LOG = Math.log(1.02);
    private static final int LOWEST = (int) (Math.log(1e3) / GAMMA_LOG); // a millisecond
    private static final int BUCKETS = (int) (Math.log(3.6e9) / GAMMA_LOG) + 1 - LOWEST; // up to an hour
    private static final int HEADER_BYTES = 4 * Long.BYTES + Integer.BYTES;

    private long completions;
    private long errors;
    private long inputTokens;
    private long outputTokens;
    private int first; // the sketch is counts[i] for bucket first + i
    private int[] counts = new int[0];

    WindowTotals add(Completion completion) {
        completions++;
        inputTokens += completion.inputTokens();
        outputTokens += completion.outputTokens();
        if (completion.failed()) {
            errors++;
        } else if (completion.durationUs() >= 0) {
            count(bucketOf(completion.durationUs()));
        }
        return this;
    }

    private static int bucketOf(long durationUs) {
        int bucket = (int) (Math.log(Math.max(1, durationUs)) / GAMMA_LOG) - LOWEST;
        return Math.min(BUCKETS - 1, Math.max(0, bucket));
    }

    private void count(int bucket) {
        if (counts.length == 0) {
            first = bucket;
            counts = new int[1];
        } else if (bucket < first) {
            int[] wider = new int[counts.length + first - bucket];
            System.arraycopy(counts, 0, wider, first - bucket, counts.length);
            counts = wider;
            first = bucket;
        } else if (bucket >= first + counts.length) {
            counts = Arrays.copyOf(counts, bucket - first + 1);
        }
        counts[bucket - first]++;
    }

    /** The value of rank ⌈q · n⌉ within 1 %, in microseconds; -1 without values. */
    private long quantileUs(int percent) {
        long total = 0;
        for (int count : counts) {
            total += count;
        }
        long rank = Math.max(1, (total * percent + 99) / 100);
        for (int index = 0; index < counts.length; index++) {
            rank -= counts[index];
            if (rank <= 0) {
                return Math.round(Math.exp((first + index + LOWEST + 0.5) * GAMMA_LOG));
            }
        }
        return -1;
    }

    Answer answer(String model, long startMs) {
        long p50 = quantileUs(50);
        long p99 = quantileUs(99);
        return new Answer(
                model,
                startMs * 1000,
                completions,
                errors,
                (double) errors / completions,
                inputTokens,
                outputTokens,
                p50 < 0 ? null : p50,
                p99 < 0 ? null : p99);
    }

    static Serde<WindowTotals> serde() {
        Serializer<WindowTotals> serializer = (topic, value) -> value.toBytes();
        Deserializer<WindowTotals> deserializer = (topic, bytes) -> bytes == null ? null : new WindowTotals(bytes);
        return Serdes.serdeFrom(serializer, deserializer);
    }

    WindowTotals() {}

    private WindowTotals(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        completions = buffer.getLong();
        errors = buffer.getLong();
        inputTokens = buffer.getLong();
        outputTokens = buffer.getLong();
        first = buffer.getInt();
        counts = new int[buffer.remaining() / Integer.BYTES];
        buffer.asIntBuffer().get(counts);
    }

    private byte[] toBytes() {
        ByteBuffer buffer = ByteBuffer.allocate(HEADER_BYTES + counts.length * Integer.BYTES);
        buffer.putLong(completions).putLong(errors).putLong(inputTokens).putLong(outputTokens).putInt(first);
        buffer.asIntBuffer().put(counts);
        return buffer.array();
    }
}
