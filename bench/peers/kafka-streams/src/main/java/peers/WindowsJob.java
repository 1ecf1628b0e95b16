package peers;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/** One-minute windows by model, in the DSL: group, window, aggregate, suppress until the window closes. */
public final class WindowsJob {

    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final Duration GRACE = Duration.ofMinutes(30);

    private WindowsJob() {}

    public static void main(String[] arguments) {
        Map<String, String> environment = System.getenv();
        boolean regroup = environment.get("PEER_REGROUP").equals("1");
        Topology topology = topology(environment.get("PEER_INPUT"), environment.get("PEER_OUTPUT"), regroup);
        KafkaStreams streams = new KafkaStreams(topology, configuration(environment));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    /** {@code regroup}: the input is keyed by something else than the model, so a repartition topic lies between. */
    static Topology topology(String input, String output, boolean regroup) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, Completion> completions = builder.stream(
                        input, Consumed.with(Serdes.String(), Completion.json()))
                .filter((key, completion) -> completion.model() != null);
        grouped(completions, regroup)
                .windowedBy(TimeWindows.ofSizeAndGrace(MINUTE, GRACE))
                .aggregate(
                        WindowTotals::new,
                        (model, completion, totals) -> totals.add(completion),
                        Materialized.<String, WindowTotals>as(
                                        Stores.inMemoryWindowStore("windows", MINUTE.plus(GRACE), MINUTE, false))
                                .withKeySerde(Serdes.String())
                                .withValueSerde(WindowTotals.serde())
                                .withCachingEnabled())
                .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
                .toStream()
                .map((window, totals) ->
                        KeyValue.pair(window.key(), totals.answer(window.key(), window.window().start()).toJson()))
                .to(output, Produced.with(Serdes.String(), Serdes.ByteArray()));
        return builder.build();
    }

    private static KGroupedStream<String, Completion> grouped(
            KStream<String, Completion> completions, boolean regroup) {
        return regroup
                ? completions.groupBy(
                        (organisation, completion) -> completion.model(),
                        Grouped.with("by-model", Serdes.String(), Completion.compact()))
                : completions.groupByKey(Grouped.with(Serdes.String(), Completion.compact()));
    }

    private static Properties configuration(Map<String, String> environment) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, environment.get("PEER_NAME"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environment.get("PEER_BROKER"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, Path.of(environment.get("PEER_STATE")).toString());
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L * 1024 * 1024);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 5_000);
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        consumer(properties, ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        consumer(properties, ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 10_000);
        consumer(properties, ConsumerConfig.FETCH_MIN_BYTES_CONFIG, 100_000);
        consumer(properties, ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 * 1024 * 1024);
        producer(properties, ProducerConfig.LINGER_MS_CONFIG, 100);
        producer(properties, ProducerConfig.BATCH_SIZE_CONFIG, 256 * 1024);
        return properties;
    }

    private static void consumer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.consumerPrefix(name), value);
    }

    private static void producer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.producerPrefix(name), value);
    }
}
