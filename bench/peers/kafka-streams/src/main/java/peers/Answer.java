package peers;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.UncheckedIOException;

/** A record of the output topic. */
record Answer(
        String model,
        @JsonProperty("start_us") long startUs,
        long completions,
        long errors,
        @JsonProperty("error_rate") double errorRate,
        @JsonProperty("input_tokens") long inputTokens,
        @JsonProperty("output_tokens") long outputTokens,
        @JsonProperty("duration_us_p50") Long durationUsP50,
        @JsonProperty("duration_us_p99") Long durationUsP99) {

    private static final ObjectWriter WRITER = new ObjectMapper().writerFor(Answer.class);

    byte[] toJson() {
        try {
            return WRITER.writeValueAsBytes(this);
        } catch (JsonProcessingException error) {
            throw new UncheckedIOException(error);
        }
    }
}
