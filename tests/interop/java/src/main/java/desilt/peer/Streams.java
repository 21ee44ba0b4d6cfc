package desilt.peer;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.paimon.CoreOptions;
import org.apache.paimon.KeyValue;
import org.apache.paimon.KeyValueFileStore;
import org.apache.paimon.Snapshot;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.deletionvectors.DeletionVector;
import org.apache.paimon.io.DataFileMeta;
import org.apache.paimon.io.KeyValueFileReaderFactory;
import org.apache.paimon.manifest.ManifestEntry;
import org.apache.paimon.manifest.ManifestFile;
import org.apache.paimon.manifest.ManifestFileMeta;
import org.apache.paimon.manifest.ManifestList;
import org.apache.paimon.reader.RecordReader;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.sink.StreamTableCommit;
import org.apache.paimon.table.sink.StreamTableWrite;
import org.apache.paimon.table.sink.StreamWriteBuilder;
import org.apache.paimon.table.source.DataSplit;
import org.apache.paimon.table.source.ReadBuilder;
import org.apache.paimon.table.source.Split;
import org.apache.paimon.table.source.StreamTableScan;
import org.apache.paimon.table.source.TableRead;
import org.apache.paimon.table.source.TableScan;
import org.apache.paimon.types.DataType;

/** What streams see and write: changes by snapshot, the files behind them, open writers. */
final class Streams {
    private final Tables tables;

    Streams(Tables tables) {
        this.tables = tables;
    }

    void register(Map<String, Peer.Operation> operations) {
        operations.put("changes", this::changes);
        operations.put("snapshot_files", this::snapshotFiles);
        operations.put("write_stream", this::writeStream);
    }

    // ---------------------------------------------------------------- changes

    /**
     * The rows that the library's stream reader yields from one snapshot to another, both in.
     *
     * <p>The answer has one object for each snapshot the reader did not pass over.
     */
    private void changes(JsonNode args, JsonGenerator out) throws Exception {
        Map<String, String> options = Args.map(args, "options");
        FileStoreTable plain = Tables.open(args, Map.of());
        long last = Args.has(args, "to") ? args.get("to").asLong() : Tables.latest(plain);
        long first = Args.has(args, "from") ? args.get("from").asLong() : 1;
        options.putIfAbsent(CoreOptions.SCAN_MODE.key(), "from-snapshot");
        options.put(CoreOptions.SCAN_SNAPSHOT_ID.key(), Long.toString(first));
        FileStoreTable table = Tables.open(args, options);
        Values.Encoder[] encoders = Values.encoders(table.rowType().getFieldTypes());
        ReadBuilder builder = table.newReadBuilder();
        StreamTableScan scan = builder.newStreamScan();
        TableRead read = builder.newRead().withIOManager(tables.spill());
        out.writeStartArray();
        // The first plan of a stream may be empty and only set where the next one starts.
        for (boolean begun = false; !begun || !passed(scan, last); begun = true) {
            List<Split> splits = scan.plan().splits();
            Long next = scan.checkpoint();
            if (splits.isEmpty() && begun || next == null || next - 1 > last) {
                break;
            }
            if (!splits.isEmpty()) {
                writeChanges(next - 1, read, splits, encoders, out);
            }
        }
        out.writeEndArray();
    }

    private static boolean passed(StreamTableScan scan, long last) {
        return scan.checkpoint() != null && scan.checkpoint() > last;
    }

    private static void writeChanges(
            long snapshot,
            TableRead read,
            List<Split> splits,
            Values.Encoder[] encoders,
            JsonGenerator out)
            throws IOException {
        out.writeStartObject();
        out.writeNumberField("snapshot", snapshot);
        out.writeArrayFieldStart("rows");
        for (Split split : splits) {
            try (RecordReader<InternalRow> reader = read.createReader(split)) {
                forEach(
                        reader,
                        row -> {
                            out.writeStartArray();
                            out.writeString(row.getRowKind().shortString());
                            writeValues(row, encoders, out);
                            out.writeEndArray();
                        });
            }
        }
        out.writeEndArray();
        out.writeEndObject();
    }

    private static void writeValues(InternalRow row, Values.Encoder[] encoders, JsonGenerator out)
            throws IOException {
        for (int i = 0; i < encoders.length; i++) {
            encoders[i].write(row, i, out);
        }
    }

    /** Takes one item of a reader. */
    private interface Taker<T> {
        void take(T item) throws IOException;
    }

    private static <T> void forEach(RecordReader<T> reader, Taker<T> taker) throws IOException {
        RecordReader.RecordIterator<T> batch;
        while ((batch = reader.readBatch()) != null) {
            for (T item = batch.next(); item != null; item = batch.next()) {
                taker.take(item);
            }
            batch.releaseBatch();
        }
    }

    // ---------------------------------------------------------------- files

    /**
     * The entries of one snapshot: "live" files, or those its "delta" or "changelog" lists.
     *
     * <p>With "records", each comes with the rows its file holds, in their places.
     */
    private void snapshotFiles(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Tables.open(args, Map.of());
        long id = Args.has(args, "snapshot") ? args.get("snapshot").asLong() : Tables.latest(table);
        boolean records = Args.flag(args, "records", false);
        out.writeStartArray();
        for (ManifestEntry entry : entries(table, id, Args.text(args, "part"))) {
            out.writeStartObject();
            out.writeStringField("kind", entry.kind().name());
            Tables.entryFields(table, entry, out);
            if (records) {
                out.writeArrayFieldStart("records");
                writeRecords(table, entry, out);
                out.writeEndArray();
            }
            out.writeEndObject();
        }
        out.writeEndArray();
    }

    private static List<ManifestEntry> entries(FileStoreTable table, long id, String part) {
        if (id == 0 || part.equals("live")) {
            return Tables.entries(table, id);
        }
        Snapshot snapshot = table.snapshotManager().snapshot(id);
        ManifestList lists = table.store().manifestListFactory().create();
        List<ManifestFileMeta> manifests;
        switch (part) {
            case "delta":
                manifests = lists.readDeltaManifests(snapshot);
                break;
            case "changelog":
                manifests = lists.readChangelogManifests(snapshot);
                break;
            default:
                throw new IllegalArgumentException("no part " + part + " of a snapshot");
        }
        ManifestFile files = table.store().manifestFileFactory().create();
        List<ManifestEntry> found = new ArrayList<>();
        manifests.forEach(
                manifest -> found.addAll(files.read(manifest.fileName(), manifest.fileSize())));
        return found;
    }

    /** Every row of a file, those a deletion vector marks too: [kind, sequence, value...]. */
    private void writeRecords(FileStoreTable table, ManifestEntry entry, JsonGenerator out)
            throws Exception {
        List<DataType> types = table.rowType().getFieldTypes();
        Values.Encoder[] encoders = Values.encoders(types);
        if (table.primaryKeys().isEmpty()) {
            writeRows(table, entry, encoders, out);
            return;
        }
        KeyValueFileReaderFactory readers =
                ((KeyValueFileStore) table.store())
                        .newReaderFactoryBuilder()
                        .build(entry.partition(), entry.bucket(), DeletionVector.emptyFactory());
        try (RecordReader<KeyValue> reader = readers.createRecordReader(entry.file())) {
            forEach(
                    reader,
                    record -> {
                        out.writeStartArray();
                        out.writeString(record.valueKind().shortString());
                        out.writeNumber(record.sequenceNumber());
                        writeValues(record.value(), encoders, out);
                        out.writeEndArray();
                    });
        }
    }

    /** The same for append tables, whose rows have no number of their own. */
    private void writeRows(
            FileStoreTable table, ManifestEntry entry, Values.Encoder[] encoders, JsonGenerator out)
            throws Exception {
        List<DataFileMeta> file = List.of(entry.file());
        DataSplit split =
                DataSplit.builder()
                        .withSnapshot(1)
                        .withPartition(entry.partition())
                        .withBucket(entry.bucket())
                        .withBucketPath(
                                table.store()
                                        .pathFactory()
                                        .bucketPath(entry.partition(), entry.bucket())
                                        .toString())
                        .withDataFiles(file)
                        .rawConvertible(true)
                        .build();
        TableRead read = table.newReadBuilder().newRead().withIOManager(tables.spill());
        try (RecordReader<InternalRow> reader = read.createReader(split)) {
            forEach(
                    reader,
                    row -> {
                        out.writeStartArray();
                        out.writeString("+I");
                        out.writeNumber(-1);
                        writeValues(row, encoders, out);
                        out.writeEndArray();
                    });
        }
    }

    // ---------------------------------------------------------------- writing

    /**
     * Writes batches with one open writer, a commit each, as a streaming job does.
     *
     * <p>The writer compacts unless "options" forbid it, and each commit waits for that.
     */
    private void writeStream(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Tables.open(args, Args.map(args, "options"));
        long before = Tables.latest(table);
        StreamWriteBuilder builder =
                table.newStreamWriteBuilder().withCommitUser(Args.text(args, "user"));
        long identifier = Args.need(args, "identifier").asLong();
        try (StreamTableWrite write = builder.newWrite();
                StreamTableCommit commit = builder.newCommit()) {
            write.withIOManager(tables.spill());
            for (JsonNode rows : Args.need(args, "batches")) {
                Tables.feed(table, write, rows, args);
                commit.commit(identifier, write.prepareCommit(true, identifier));
                identifier++;
            }
        }
        Tables.newSnapshots(table, before, out);
    }
}
