package desilt.peer;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.apache.paimon.codegen.CodeGenUtils;
import org.apache.paimon.codegen.Projection;
import org.apache.paimon.compact.CompactUnit;
import org.apache.paimon.data.BinaryRow;
import org.apache.paimon.data.serializer.InternalRowSerializer;
import org.apache.paimon.mergetree.LevelSortedRun;
import org.apache.paimon.mergetree.SortedRun;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.RowType;

/** Operations on the library's pure functions: row bytes, hashes, buckets, the run picker. */
final class Probes {
    private Probes() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("binary_row", Probes::binaryRow);
        operations.put("bucket", Probes::bucket);
        operations.put("pick", Probes::pick);
    }

    private static void binaryRow(JsonNode args, JsonGenerator out) throws IOException {
        List<DataType> types = Args.types(args, "types");
        InternalRowSerializer serializer =
                new InternalRowSerializer(types.toArray(new DataType[0]));
        Projection projection = identity(types);
        out.writeStartArray();
        for (JsonNode values : Args.need(args, "rows")) {
            var row = Values.row(types, values, 0);
            BinaryRow binary = serializer.toBinaryRow(row);
            out.writeStartObject();
            out.writeStringField("hex", Values.rowHex(binary));
            out.writeNumberField("hash", binary.hashCode());
            out.writeStringField("key_hex", Values.rowHex(projection.apply(row)));
            out.writeEndObject();
        }
        out.writeEndArray();
    }

    private static void bucket(JsonNode args, JsonGenerator out) throws Exception {
        List<DataType> types = Args.types(args, "types");
        int buckets = Args.integer(args, "buckets");
        Projection projection = identity(types);
        out.writeStartArray();
        for (JsonNode values : Args.need(args, "rows")) {
            BinaryRow key = projection.apply(Values.row(types, values, 0));
            out.writeNumber(Compat.bucket(key, buckets));
        }
        out.writeEndArray();
    }

    /** The generated projection of all columns, as the writers build partitions and keys. */
    private static Projection identity(List<DataType> types) {
        RowType row = RowType.of(types.toArray(new DataType[0]));
        return CodeGenUtils.newProjection(row, IntStream.range(0, types.size()).toArray());
    }

    private static void pick(JsonNode args, JsonGenerator out) throws Exception {
        List<LevelSortedRun> runs = new ArrayList<>();
        for (JsonNode run : Args.need(args, "runs")) {
            int level = run.get(0).asInt();
            long size = run.get(1).asLong();
            // One file a run: the files of a picked unit then count its runs.
            SortedRun single =
                    SortedRun.fromSingle(Compat.file("run-" + runs.size(), size, level));
            runs.add(new LevelSortedRun(level, single));
        }
        Optional<CompactUnit> unit =
                Compat.picker(
                                Args.integer(args, "max_size_amp"),
                                Args.integer(args, "size_ratio"),
                                Args.integer(args, "trigger"),
                                Args.flag(args, "force_up_level0", false))
                        .pick(Args.integer(args, "num_levels"), runs);
        if (unit.isEmpty()) {
            out.writeNull();
            return;
        }
        out.writeStartObject();
        out.writeNumberField("output_level", unit.get().outputLevel());
        out.writeNumberField("count", unit.get().files().size());
        out.writeEndObject();
    }
}
