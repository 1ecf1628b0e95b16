package peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** What the job needs of a completion. Durations are microseconds. {@code model} is null for any other event. */
record Completion(String model, int inputTokens, int outputTokens, long durationUs, boolean failed) {

    private static final JsonFactory JSON = new JsonFactory();
    private static final double NONE = -1;

    /** Reads the JSON with Jackson's streaming parser, which costs less than binding it to an object. */
    static Completion parse(String topic, byte[] value) {
        try (JsonParser parser = JSON.createParser(value)) {
            return read(parser);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Completion read(JsonParser parser) throws IOException {
        String type = "";
        String model = null;
        String errorType = "";
        int inputTokens = 0;
        int outputTokens = 0;
        double durationS = NONE;
        parser.nextToken();
        for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
            switch (name) {
                case "type" -> type = parser.nextTextValue();
                case "gen_ai.response.model" -> model = parser.nextTextValue();
                case "gen_ai.usage.input_tokens" -> inputTokens = parser.nextIntValue(0);
                case "gen_ai.usage.output_tokens" -> outputTokens = parser.nextIntValue(0);
                case "error.type" -> errorType = parser.nextTextValue();
                case "gen_ai.client.operation.duration" ->
                        durationS = parser.nextToken() == JsonToken.VALUE_NULL ? NONE : parser.getDoubleValue();
                default -> {
                    parser.nextToken();
                    parser.skipChildren();
                }
            }
        }
        long durationUs = durationS < 0 ? -1 : Math.round(durationS * 1e6);
        String counted = "completion".equals(type) ? model : null;
        return new Completion(counted, inputTokens, outputTokens, durationUs, !errorType.isEmpty());
    }

    /** Input: JSON, read only. */
    static Serde<Completion> json() {
        Deserializer<Completion> deserializer = Completion::parse;
        Serializer<Completion> never = (topic, value) -> {
            throw new UnsupportedOperationException("the input topic is only read");
        };
        return Serdes.serdeFrom(never, deserializer);
    }

    /** The repartition topic: only what is needed, in 17 bytes and the model's name, so as not to parse JSON twice. */
    static Serde<Completion> compact() {
        Serializer<Completion> serializer = (topic, value) -> value.toBytes();
        Deserializer<Completion> deserializer = (topic, bytes) -> fromBytes(ByteBuffer.wrap(bytes));
        return Serdes.serdeFrom(serializer, deserializer);
    }

    private byte[] toBytes() {
        byte[] name = model.getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(17 + name.length)
                .putInt(inputTokens)
                .putInt(outputTokens)
                .putLong(durationUs)
                .put((byte) (failed ? 1 : 0))
                .put(name)
                .array();
    }

    private static Completion fromBytes(ByteBuffer bytes) {
        int inputTokens = bytes.getInt();
        int outputTokens = bytes.getInt();
        long durationUs = bytes.getLong();
        boolean failed = bytes.get() != 0;
        String model = new String(bytes.array(), bytes.position(), bytes.remaining(), StandardCharsets.UTF_8);
        return new Completion(model, inputTokens, outputTokens, durationUs, failed);
    }
}
