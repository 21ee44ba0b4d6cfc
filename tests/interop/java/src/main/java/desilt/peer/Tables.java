package desilt.peer;

import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.paimon.CoreOptions;
import org.apache.paimon.Snapshot;
import org.apache.paimon.catalog.Catalog;
import org.apache.paimon.catalog.CatalogContext;
import org.apache.paimon.catalog.CatalogFactory;
import org.apache.paimon.catalog.Identifier;
import org.apache.paimon.data.BinaryRow;
import org.apache.paimon.data.GenericRow;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.disk.IOManager;
import org.apache.paimon.fs.Path;
import org.apache.paimon.io.DataFileMeta;
import org.apache.paimon.manifest.ManifestEntry;
import org.apache.paimon.operation.FileStoreScan;
import org.apache.paimon.reader.RecordReader;
import org.apache.paimon.schema.SchemaChange;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.FileStoreTableFactory;
import org.apache.paimon.table.sink.BatchTableCommit;
import org.apache.paimon.table.sink.BatchTableWrite;
import org.apache.paimon.table.sink.BatchWriteBuilder;
import org.apache.paimon.table.sink.CommitMessage;
import org.apache.paimon.table.sink.StreamTableCommit;
import org.apache.paimon.table.sink.StreamTableWrite;
import org.apache.paimon.table.sink.StreamWriteBuilder;
import org.apache.paimon.table.sink.TableWrite;
import org.apache.paimon.table.source.ReadBuilder;
import org.apache.paimon.table.source.TableRead;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.RowKind;
import org.apache.paimon.types.RowType;

/** Operations on tables of the local file system or a catalog, opened anew for every request. */
final class Tables implements AutoCloseable {
    private static final String WRITE_ONLY = CoreOptions.WRITE_ONLY.key();
    private static final String DATABASE_SUFFIX = ".db";

    private final java.nio.file.Path spillDirectory;
    private final IOManager spill;

    Tables() throws IOException {
        spillDirectory = Files.createTempDirectory("paimon-peer");
        spill = IOManager.create(spillDirectory.toString());
    }

    /** Where readers and writers spill to, for as long as the server runs. */
    IOManager spill() {
        return spill;
    }

    void register(Map<String, Peer.Operation> operations) {
        operations.put("create_table", this::createTable);
        operations.put("alter", this::alter);
        operations.put("write", this::write);
        operations.put("read", this::read);
        operations.put("compact", this::compact);
        operations.put("bench_compact", this::benchCompact);
        operations.put("snapshots", this::snapshots);
        operations.put("files", this::files);
    }

    @Override
    public void close() throws IOException {
        try {
            spill.close();
            Files.deleteIfExists(spillDirectory);
        } catch (Exception failure) {
            throw new IOException(failure);
        }
    }

    // ---------------------------------------------------------------- schema

    private void createTable(JsonNode args, JsonGenerator out) throws Exception {
        Identifier name =
                Identifier.create(Args.text(args, "database"), Args.text(args, "table"));
        if (Catalogs.named(args)) {
            FileStoreTable made = create(Catalogs.get(args), name, args);
            out.writeStartObject();
            out.writeStringField("path", name.getFullName());
            out.writeStringField("location", made.location().toString());
            out.writeEndObject();
            return;
        }
        try (Catalog catalog = catalog(Args.text(args, "warehouse"))) {
            FileStoreTable made = create(catalog, name, args);
            out.writeStartObject();
            out.writeStringField("path", made.location().toUri().getPath());
            out.writeEndObject();
        }
    }

    private static FileStoreTable create(Catalog catalog, Identifier name, JsonNode args)
            throws Exception {
        catalog.createDatabase(name.getDatabaseName(), true);
        catalog.createTable(name, Schemas.schema(args), false);
        return (FileStoreTable) catalog.getTable(name);
    }

    private void alter(JsonNode args, JsonGenerator out) throws Exception {
        List<SchemaChange> changes = new ArrayList<>();
        Args.need(args, "changes").forEach(change -> changes.add(change(change)));
        FileStoreTable altered = Catalogs.named(args) ? inCatalog(args, changes) : local(args, changes);
        out.writeStartObject();
        out.writeNumberField("schemaId", altered.schema().id());
        out.writeEndObject();
    }

    private static FileStoreTable inCatalog(JsonNode args, List<SchemaChange> changes)
            throws Exception {
        Identifier name = Identifier.fromString(Args.text(args, "path"));
        Catalogs.get(args).alterTable(name, changes, false);
        return Catalogs.table(args);
    }

    private static FileStoreTable local(JsonNode args, List<SchemaChange> changes)
            throws Exception {
        Path path = new Path(tablePath(args));
        String directory = path.getParent().getName();
        if (!directory.endsWith(DATABASE_SUFFIX)) {
            throw new IllegalArgumentException(path + " is not in a warehouse's database");
        }
        String database =
                directory.substring(0, directory.length() - DATABASE_SUFFIX.length());
        try (Catalog catalog = catalog(path.getParent().getParent().toString())) {
            catalog.alterTable(Identifier.create(database, path.getName()), changes, false);
        }
        return open(path.toString(), Map.of());
    }

    private static String tablePath(JsonNode args) {
        if (Args.has(args, "path")) {
            return Args.text(args, "path");
        }
        return Args.text(args, "warehouse")
                + "/"
                + Args.text(args, "database")
                + DATABASE_SUFFIX
                + "/"
                + Args.text(args, "table");
    }

    private static SchemaChange change(JsonNode args) {
        if (Args.has(args, "path")) {
            return Compat.nestedChange(args);
        }
        String op = Args.text(args, "op");
        switch (op) {
            case "add":
                return SchemaChange.addColumn(
                        Args.text(args, "name"), Args.type(Args.need(args, "type")));
            case "rename":
                return SchemaChange.renameColumn(Args.text(args, "from"), Args.text(args, "to"));
            case "drop":
                return SchemaChange.dropColumn(Args.text(args, "name"));
            case "type":
                return SchemaChange.updateColumnType(
                        Args.text(args, "name"), Args.type(Args.need(args, "type")));
            case "nullable":
                return SchemaChange.updateColumnNullability(
                        Args.text(args, "name"), Args.flag(args, "nullable", true));
            case "first":
                return SchemaChange.updateColumnPosition(
                        SchemaChange.Move.first(Args.text(args, "name")));
            case "option":
                return SchemaChange.setOption(Args.text(args, "key"), Args.text(args, "value"));
            default:
                throw new UnsupportedOperationException("schema change " + op);
        }
    }

    // ---------------------------------------------------------------- rows

    private void write(JsonNode args, JsonGenerator out) throws Exception {
        Map<String, String> options = Args.map(args, "options");
        options.putIfAbsent(WRITE_ONLY, "true");
        FileStoreTable table = open(args, options);
        long before = latest(table);
        if (Args.has(args, "user")) {
            writeAs(table, args);
        } else if (Args.has(args, "identifier")) {
            throw new IllegalArgumentException("an identifier needs a user");
        } else {
            writeBatch(table, args);
        }
        newSnapshots(table, before, out);
    }

    private void writeBatch(FileStoreTable table, JsonNode args) throws Exception {
        BatchWriteBuilder builder = table.newBatchWriteBuilder();
        try (BatchTableWrite write = builder.newWrite();
                BatchTableCommit commit = builder.newCommit()) {
            write.withIOManager(spill);
            feed(table, write, args);
            commit.commit(write.prepareCommit());
        }
    }

    /** A commit of a named user; without an identifier, under the one batch jobs use. */
    private void writeAs(FileStoreTable table, JsonNode args) throws Exception {
        long identifier =
                Args.has(args, "identifier")
                        ? args.get("identifier").asLong()
                        : BatchWriteBuilder.COMMIT_IDENTIFIER;
        StreamWriteBuilder builder =
                table.newStreamWriteBuilder().withCommitUser(Args.text(args, "user"));
        try (StreamTableWrite write = builder.newWrite();
                StreamTableCommit commit = builder.newCommit()) {
            write.withIOManager(spill);
            feed(table, write, args);
            commit.commit(identifier, write.prepareCommit(true, identifier));
        }
    }

    private static void feed(FileStoreTable table, TableWrite write, JsonNode args)
            throws Exception {
        feed(table, write, Args.need(args, "rows"), args);
    }

    /** Writes rows, into the request's bucket if it names one. */
    static void feed(FileStoreTable table, TableWrite write, JsonNode rows, JsonNode args)
            throws Exception {
        List<DataType> types = table.rowType().getFieldTypes();
        boolean fixed = !Args.has(args, "bucket");
        int bucket = fixed ? -1 : Args.integer(args, "bucket");
        for (JsonNode values : rows) {
            GenericRow row = Values.row(types, values, 1);
            row.setRowKind(RowKind.fromShortString(values.get(0).asText()));
            if (fixed) {
                write.write(row);
            } else {
                write.write(row, bucket);
            }
        }
    }

    private void read(JsonNode args, JsonGenerator out) throws Exception {
        Map<String, String> options = Args.map(args, "options");
        if (Args.has(args, "snapshot")) {
            options.put(CoreOptions.SCAN_SNAPSHOT_ID.key(), Args.text(args, "snapshot"));
        }
        FileStoreTable table = open(args, options);
        if (Args.has(args, "branch")) {
            table = table.switchToBranch(Args.text(args, "branch"));
        }
        RowType type = table.rowType();
        ReadBuilder builder = table.newReadBuilder();
        List<String> names = type.getFieldNames();
        if (Args.has(args, "columns")) {
            names = Args.texts(args, "columns");
            builder.withProjection(positions(type, names));
        }
        List<DataType> types =
                names.stream().map(name -> type.getTypeAt(type.getFieldIndex(name))).toList();
        out.writeStartObject();
        texts("columns", names, out);
        out.writeArrayFieldStart("rows");
        readRows(builder, Values.encoders(types), out);
        out.writeEndArray();
        out.writeEndObject();
    }

    private static int[] positions(RowType type, List<String> names) {
        return names.stream().mapToInt(name -> position(type, name)).toArray();
    }

    private static int position(RowType type, String name) {
        int position = type.getFieldIndex(name);
        if (position < 0) {
            throw new IllegalArgumentException("no column " + name);
        }
        return position;
    }

    private void readRows(ReadBuilder builder, Values.Encoder[] encoders, JsonGenerator out)
            throws IOException {
        TableRead read = builder.newRead().withIOManager(spill);
        try (RecordReader<InternalRow> reader = read.createReader(builder.newScan().plan())) {
            RecordReader.RecordIterator<InternalRow> batch;
            while ((batch = reader.readBatch()) != null) {
                for (InternalRow row = batch.next(); row != null; row = batch.next()) {
                    writeRow(row, encoders, out);
                }
                batch.releaseBatch();
            }
        }
    }

    static void writeRow(InternalRow row, Values.Encoder[] encoders, JsonGenerator out)
            throws IOException {
        out.writeStartArray();
        for (int i = 0; i < encoders.length; i++) {
            encoders[i].write(row, i, out);
        }
        out.writeEndArray();
    }

    // ---------------------------------------------------------------- compaction

    /** One bucket of one partition. */
    private record Place(BinaryRow partition, int bucket) {}

    private void compact(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = openForCompaction(args);
        boolean full = Args.flag(args, "full", true);
        Set<Place> places = places(table, args);
        long before = latest(table);
        BatchWriteBuilder builder = table.newBatchWriteBuilder();
        try (BatchTableWrite write = builder.newWrite();
                BatchTableCommit commit = builder.newCommit()) {
            commit.commit(rewrite(write, places, full));
        }
        newSnapshots(table, before, out);
    }

    /**
     * Times the rewriting of the table, {@code repeats} times; only the last one is committed.
     *
     * <p>The earlier ones are aborted, so that every timing sees the same input.
     */
    private void benchCompact(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = openForCompaction(args);
        Set<Place> places = places(table, args);
        int repeats = Args.has(args, "repeats") ? Args.integer(args, "repeats") : 1;
        boolean full = !Args.has(args, "full") || args.get("full").asBoolean();
        BatchWriteBuilder builder = table.newBatchWriteBuilder();
        out.writeStartObject();
        out.writeArrayFieldStart("seconds");
        for (int left = repeats; left > 0; left--) {
            try (BatchTableWrite write = builder.newWrite();
                    BatchTableCommit commit = builder.newCommit()) {
                long start = System.nanoTime();
                List<CommitMessage> messages = rewrite(write, places, full);
                out.writeNumber((System.nanoTime() - start) / 1e9);
                if (left > 1) {
                    commit.abort(messages);
                } else {
                    commit.commit(messages);
                }
            }
        }
        out.writeEndArray();
        out.writeEndObject();
    }

    private FileStoreTable openForCompaction(JsonNode args) {
        Map<String, String> options = Args.map(args, "options");
        options.putIfAbsent(WRITE_ONLY, "false");
        return open(args, options);
    }

    private List<CommitMessage> rewrite(BatchTableWrite write, Set<Place> places, boolean full)
            throws Exception {
        write.withIOManager(spill);
        for (Place place : places) {
            write.compact(place.partition(), place.bucket(), full);
        }
        return write.prepareCommit();
    }

    /** The buckets that hold live files, cut down to the request's partition and bucket. */
    private static Set<Place> places(FileStoreTable table, JsonNode args) throws Exception {
        Map<String, String> wanted = Args.map(args, "partition");
        Set<Place> places = new LinkedHashSet<>();
        for (ManifestEntry entry : entries(table, latest(table))) {
            boolean sameBucket =
                    !Args.has(args, "bucket") || args.get("bucket").asInt() == entry.bucket();
            // An empty request asks for nothing, so its entries are all contained.
            boolean samePartition =
                    partitionText(table, entry.partition())
                            .entrySet()
                            .containsAll(wanted.entrySet());
            if (sameBucket && samePartition) {
                places.add(new Place(entry.partition(), entry.bucket()));
            }
        }
        return places;
    }

    // ---------------------------------------------------------------- metadata

    private void snapshots(JsonNode args, JsonGenerator out) throws IOException {
        FileStoreTable table = open(args, Map.of());
        out.writeStartArray();
        for (Snapshot snapshot : listed(table)) {
            out.writeStartObject();
            out.writeNumberField("id", snapshot.id());
            out.writeStringField("kind", snapshot.commitKind().name());
            out.writeNumberField("schemaId", snapshot.schemaId());
            // Boxed by hand: these are primitive in one version and objects in the other.
            out.writeObjectField("totalRecordCount", (Long) snapshot.totalRecordCount());
            out.writeObjectField("deltaRecordCount", (Long) snapshot.deltaRecordCount());
            out.writeNumberField("timeMillis", snapshot.timeMillis());
            out.writeStringField("commitUser", snapshot.commitUser());
            out.writeNumberField("commitIdentifier", snapshot.commitIdentifier());
            out.writeEndObject();
        }
        out.writeEndArray();
    }

    private static List<Snapshot> listed(FileStoreTable table) throws IOException {
        List<Snapshot> snapshots =
                new ArrayList<>(table.snapshotManager().safelyGetAllSnapshots());
        snapshots.sort((one, other) -> Long.compare(one.id(), other.id()));
        return snapshots;
    }

    private void files(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args, Map.of());
        long snapshot =
                Args.has(args, "snapshot") ? args.get("snapshot").asLong() : latest(table);
        out.writeStartArray();
        for (ManifestEntry entry : entries(table, snapshot)) {
            writeEntry(table, entry, out);
        }
        out.writeEndArray();
    }

    /** The live files of a snapshot by the library's own scan; none before the first. */
    static List<ManifestEntry> entries(FileStoreTable table, long snapshot) {
        if (snapshot == 0) {
            return List.of();
        }
        FileStoreScan scan = table.store().newScan().withSnapshot(snapshot);
        return scan.plan().files();
    }

    static void writeEntry(FileStoreTable table, ManifestEntry entry, JsonGenerator out)
            throws Exception {
        out.writeStartObject();
        entryFields(table, entry, out);
        out.writeEndObject();
    }

    /** The fields of one entry inside an object that the caller has begun. */
    static void entryFields(FileStoreTable table, ManifestEntry entry, JsonGenerator out)
            throws Exception {
        DataFileMeta file = entry.file();
        out.writeStringField("partition", Values.rowHex(entry.partition()));
        texts(
                "partition_values",
                partitionText(table, entry.partition()).values(),
                out);
        out.writeNumberField("bucket", entry.bucket());
        out.writeNumberField("totalBuckets", entry.totalBuckets());
        out.writeNumberField("level", file.level());
        out.writeStringField("name", file.fileName());
        out.writeNumberField("size", file.fileSize());
        out.writeNumberField("rowCount", file.rowCount());
        out.writeStringField("minKey", Values.rowHex(file.minKey()));
        out.writeStringField("maxKey", Values.rowHex(file.maxKey()));
        out.writeNumberField("minSeq", file.minSequenceNumber());
        out.writeNumberField("maxSeq", file.maxSequenceNumber());
        out.writeObjectField("deleteRowCount", file.deleteRowCount().orElse(null));
        out.writeStringField("fileSource", file.fileSource().map(Enum::name).orElse(null));
        out.writeNumberField("schemaId", file.schemaId());
    }

    static Map<String, String> partitionText(FileStoreTable table, BinaryRow partition)
            throws ReflectiveOperationException {
        CoreOptions options = table.coreOptions();
        String legacy = table.options().getOrDefault("partition.legacy-name", "true");
        return Compat.partitionText(
                options.partitionDefaultName(),
                table.rowType().project(table.partitionKeys()),
                Boolean.parseBoolean(legacy),
                partition);
    }

    // ---------------------------------------------------------------- helpers

    static FileStoreTable open(JsonNode args, Map<String, String> dynamic) {
        return Catalogs.named(args)
                ? with(Catalogs.table(args), dynamic)
                : open(Args.text(args, "path"), dynamic);
    }

    static FileStoreTable open(String path, Map<String, String> dynamic) {
        return with(FileStoreTableFactory.create(new BufferedFiles(), new Path(path)), dynamic);
    }

    private static FileStoreTable with(FileStoreTable table, Map<String, String> dynamic) {
        return dynamic.isEmpty() ? table : table.copy(new HashMap<>(dynamic));
    }

    static Catalog catalog(String warehouse) {
        return CatalogFactory.createCatalog(CatalogContext.create(new Path(warehouse)));
    }

    /** The id of the latest snapshot, 0 when there is none. */
    static long latest(FileStoreTable table) {
        Long id = table.snapshotManager().latestSnapshotId();
        return id == null ? 0 : id;
    }

    /** Writes the ids that became visible after {@code before}, also those of other writers. */
    static void newSnapshots(FileStoreTable table, long before, JsonGenerator out)
            throws IOException {
        out.writeStartObject();
        out.writeArrayFieldStart("snapshots");
        for (long id = before + 1; id <= latest(table); id++) {
            out.writeNumber(id);
        }
        out.writeEndArray();
        out.writeEndObject();
    }

    static void texts(String name, Iterable<String> values, JsonGenerator out)
            throws IOException {
        out.writeArrayFieldStart(name);
        for (String value : values) {
            out.writeString(value);
        }
        out.writeEndArray();
    }
}
