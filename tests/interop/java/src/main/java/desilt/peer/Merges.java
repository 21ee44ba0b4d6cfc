package desilt.peer;

import java.io.IOException;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.paimon.KeyValue;
import org.apache.paimon.codegen.CodeGenUtils;
import org.apache.paimon.codegen.Projection;
import org.apache.paimon.data.GenericRow;
import org.apache.paimon.mergetree.compact.ChangelogResult;
import org.apache.paimon.mergetree.compact.FirstRowMergeFunctionWrapper;
import org.apache.paimon.mergetree.compact.MergeFunction;
import org.apache.paimon.mergetree.compact.MergeFunctionWrapper;
import org.apache.paimon.mergetree.compact.ReducerMergeFunctionWrapper;
import org.apache.paimon.schema.Schema;
import org.apache.paimon.schema.TableSchema;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.RowKind;
import org.apache.paimon.types.RowType;
import org.apache.paimon.utils.UserDefinedSeqComparator;

/**
 * The library's merge functions and their wrappers, fed with records straight from the request.
 *
 * <p>A record is [kind, sequence, level, value...]; all records of one case have one key, and are
 * fed in the order given, or in the order of readers when "ordered" is set.
 */
final class Merges {
    private Merges() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("merge", Merges::merge);
    }

    /** One way to merge the records of one key, made once for all cases. */
    private interface Merger {
        /** Feeds the records; {@code high} is what a lookup of the key finds, or null. */
        void merge(List<KeyValue> records, KeyValue high, Answer answer);
    }

    /** Takes what merging one key yields. */
    private static final class Answer {
        private KeyValue result;
        private List<KeyValue> changelog = List.of();

        void set(ChangelogResult merged) {
            result = merged.result();
            changelog = merged.changelogs();
        }
    }

    private static void merge(JsonNode args, JsonGenerator out) throws Exception {
        TableSchema schema = schema(args);
        List<DataType> types = schema.logicalRowType().getFieldTypes();
        Values.Encoder[] encoders = Values.encoders(types);
        Projection key =
                CodeGenUtils.newProjection(
                        schema.logicalRowType(), schema.trimmedPrimaryKeys());
        UserDefinedSeqComparator order = MergeCompat.sequence(schema);
        boolean ordered = Args.flag(args, "ordered", false);
        Merger merger = merger(schema, Args.text(args, "wrapper"), args);
        out.writeStartArray();
        for (JsonNode one : Args.need(args, "cases")) {
            List<KeyValue> records = new ArrayList<>();
            for (JsonNode record : Args.need(one, "records")) {
                records.add(record(types, key, record));
            }
            if (ordered) {
                records.sort((left, right) -> compare(order, left, right));
            }
            JsonNode high = one.get("high");
            KeyValue found = high == null || high.isNull() ? null : record(types, key, high);
            out.writeRawValue(answer(merger, records, found, encoders));
        }
        out.writeEndArray();
    }

    static TableSchema schema(JsonNode args) {
        Schema made = Schemas.schema(args);
        return new TableSchema(
                0,
                made.fields(),
                RowType.currentHighestFieldId(made.fields()),
                made.partitionKeys(),
                made.primaryKeys(),
                made.options(),
                "");
    }

    private static KeyValue record(List<DataType> types, Projection key, JsonNode record) {
        GenericRow row = Values.row(types, record, 3);
        return new KeyValue()
                .replace(
                        key.apply(row).copy(),
                        record.get(1).asLong(),
                        RowKind.fromShortString(record.get(0).asText()),
                        row)
                .setLevel(record.get(2).asInt());
    }

    /** The order in which readers of several files hand out the records of one key. */
    private static int compare(UserDefinedSeqComparator order, KeyValue left, KeyValue right) {
        int bySequence = order == null ? 0 : order.compare(left.value(), right.value());
        return bySequence != 0
                ? bySequence
                : Long.compare(left.sequenceNumber(), right.sequenceNumber());
    }

    private static Merger merger(TableSchema schema, String wrapper, JsonNode args)
            throws ReflectiveOperationException {
        switch (wrapper) {
            case "function":
                return bare(MergeCompat.factory(schema).create());
            case "reducer":
                return reducing(MergeCompat.factory(schema).create());
            case "lookup":
                return bare(MergeCompat.lookup(schema).create());
            case "lookup-reducer":
                return reducing(MergeCompat.lookup(schema).create());
            case "full-changelog":
                MergeFunction<KeyValue> function = MergeCompat.factory(schema).create();
                return wrapped(
                        MergeCompat.fullChangelog(
                                schema, function, Args.integer(args, "max_level")));
            case "lookup-changelog":
                KeyValue[] high = new KeyValue[1];
                return lookingUp(MergeCompat.lookupChangelog(schema, key -> high[0]), high);
            case "first-row":
                KeyValue[] there = new KeyValue[1];
                return lookingUp(
                        new FirstRowMergeFunctionWrapper(
                                MergeCompat.factory(schema), key -> there[0] != null),
                        there);
            default:
                throw new IllegalArgumentException("no wrapper " + wrapper);
        }
    }

    private static Merger bare(MergeFunction<KeyValue> function) {
        return (records, high, answer) -> {
            function.reset();
            records.forEach(function::add);
            answer.result = function.getResult();
        };
    }

    private static Merger reducing(MergeFunction<KeyValue> function) {
        ReducerMergeFunctionWrapper wrapper = new ReducerMergeFunctionWrapper(function);
        return (records, high, answer) -> {
            wrapper.reset();
            records.forEach(wrapper::add);
            answer.result = wrapper.getResult();
        };
    }

    private static Merger wrapped(MergeFunctionWrapper<ChangelogResult> wrapper) {
        return (records, high, answer) -> {
            wrapper.reset();
            records.forEach(wrapper::add);
            answer.set(wrapper.getResult());
        };
    }

    private static Merger lookingUp(
            MergeFunctionWrapper<ChangelogResult> wrapper, KeyValue[] found) {
        Merger merger = wrapped(wrapper);
        return (records, high, answer) -> {
            found[0] = high;
            merger.merge(records, high, answer);
        };
    }

    /** One case's answer as JSON text, so that a failure half-way leaves nothing behind. */
    private static String answer(
            Merger merger, List<KeyValue> records, KeyValue high, Values.Encoder[] encoders)
            throws IOException {
        StringWriter text = new StringWriter(128);
        try (JsonGenerator out = Peer.JSON.getFactory().createGenerator(text)) {
            Answer answer = new Answer();
            try {
                merger.merge(records, high, answer);
            } catch (RuntimeException failure) {
                // A record of a key that a merge function refuses is an answer like any other.
                out.writeStartObject();
                String message = failure.getClass().getName() + ": " + failure.getMessage();
                out.writeStringField("error", message);
                out.writeEndObject();
                out.flush();
                return text.toString();
            }
            out.writeStartObject();
            out.writeFieldName("result");
            write(answer.result, encoders, out);
            out.writeArrayFieldStart("changelog");
            for (KeyValue change : answer.changelog) {
                write(change, encoders, out);
            }
            out.writeEndArray();
            out.writeEndObject();
        }
        return text.toString();
    }

    private static void write(KeyValue record, Values.Encoder[] encoders, JsonGenerator out)
            throws IOException {
        if (record == null) {
            out.writeNull();
            return;
        }
        out.writeStartArray();
        out.writeString(record.valueKind().shortString());
        out.writeNumber(record.sequenceNumber());
        for (int i = 0; i < encoders.length; i++) {
            encoders[i].write(record.value(), i, out);
        }
        out.writeEndArray();
    }
}
