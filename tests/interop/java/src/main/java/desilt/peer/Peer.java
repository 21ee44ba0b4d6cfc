package desilt.peer;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.StringWriter;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * A server of JSON lines over stdin and stdout: one request a line, one response a line.
 *
 * <p>A request is an object with the operation's name under "op" and its arguments beside it. The
 * response is {"ok":true,"result":...} or {"ok":false,"error":"class: message"}. A failed operation
 * leaves the server usable. Only protocol lines reach stdout.
 */
public final class Peer {
    static final ObjectMapper JSON = new ObjectMapper();

    /** One operation: reads its arguments from the request and writes exactly one JSON value. */
    interface Operation {
        void run(JsonNode args, JsonGenerator out) throws Exception;
    }

    private final Map<String, Operation> operations = new LinkedHashMap<>();

    private Peer(Tables tables) {
        operations.put("version", Peer::version);
        tables.register(operations);
        Probes.register(operations);
        Refs.register(operations);
        Maintenance.register(operations);
        Bitmaps.register(operations);
        Schemas.register(operations);
        Merges.register(operations);
        new Streams(tables).register(operations);
        Vectors.register(operations);
        Appends.register(operations);
        Partitions.register(operations);
    }

    public static void main(String[] args) throws IOException {
        OutputStream protocol = new FileOutputStream(FileDescriptor.out);
        // A library that prints would corrupt the protocol, so its stdout is our stderr.
        System.setOut(System.err);
        try (Tables tables = new Tables()) {
            new Peer(tables).serve(protocol);
        }
        // Worker threads of the library need not be daemons; nothing is left to wait for.
        System.exit(0);
    }

    private void serve(OutputStream protocol) throws IOException {
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = in.readLine()) != null) {
            if (line.isEmpty()) {
                continue;
            }
            if (!answer(line, protocol)) {
                return;
            }
        }
    }

    /** Answers one request line; false when it asked the server to end. */
    private boolean answer(String line, OutputStream protocol) throws IOException {
        String response;
        boolean more = true;
        try {
            JsonNode request = JSON.readTree(line);
            String op = request.path("op").asText();
            more = !op.equals("exit");
            response = more ? run(op, request) : "{\"ok\":true,\"result\":null}";
        } catch (Throwable failure) {
            if (failure instanceof VirtualMachineError) {
                failure.printStackTrace();
            }
            response = error(failure);
        }
        protocol.write((response + "\n").getBytes(StandardCharsets.UTF_8));
        protocol.flush();
        return more;
    }

    /** Runs one operation into a buffer, so that a failure half-way writes nothing. */
    private String run(String op, JsonNode request) throws Exception {
        Operation operation = operations.get(op);
        if (operation == null) {
            throw new UnsupportedOperationException("unknown operation " + op);
        }
        StringWriter buffer = new StringWriter(1024);
        try (JsonGenerator out = JSON.getFactory().createGenerator(buffer)) {
            out.writeStartObject();
            out.writeBooleanField("ok", true);
            out.writeFieldName("result");
            operation.run(request, out);
            out.writeEndObject();
        } finally {
            Catalogs.closeAll();
        }
        return buffer.toString();
    }

    private static String error(Throwable failure) throws IOException {
        Throwable shown = failure;
        if (shown instanceof InvocationTargetException && shown.getCause() != null) {
            shown = shown.getCause();
        }
        StringBuilder text = new StringBuilder(describe(shown));
        // Libraries wrap the telling message, so the causes are shown too.
        Throwable cause = shown.getCause();
        for (int depth = 0; cause != null && depth < 5; depth++, cause = cause.getCause()) {
            text.append(" <- ").append(describe(cause));
        }
        Map<String, Object> response = new LinkedHashMap<>();
        response.put("ok", false);
        response.put("error", text.toString());
        return JSON.writeValueAsString(response);
    }

    private static String describe(Throwable failure) {
        String message = failure.getMessage();
        StackTraceElement[] frames = failure.getStackTrace();
        // Without a message the place is all there is to tell one failure from another.
        String shown = message == null && frames.length > 0 ? "at " + frames[0] : message;
        return failure.getClass().getName() + ": " + shown;
    }

    private static void version(JsonNode args, JsonGenerator out) throws IOException {
        out.writeStartObject();
        out.writeStringField("name", "paimon-java");
        out.writeStringField("version", System.getProperty("desilt.peer.paimon", "unknown"));
        out.writeEndObject();
    }
}
