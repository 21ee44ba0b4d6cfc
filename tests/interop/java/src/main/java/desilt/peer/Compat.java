package desilt.peer;

import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.apache.paimon.data.BinaryRow;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.io.DataFileMeta;
import org.apache.paimon.mergetree.compact.CompactStrategy;
import org.apache.paimon.mergetree.compact.ForceUpLevel0Compaction;
import org.apache.paimon.mergetree.compact.UniversalCompaction;
import org.apache.paimon.schema.SchemaChange;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.stats.SimpleStats;
import org.apache.paimon.table.sink.KeyAndBucketExtractor;
import org.apache.paimon.types.RowType;
import org.apache.paimon.utils.InternalRowPartitionComputer;

/** Calls whose signatures differ between the Paimon versions, made by reflection. */
final class Compat {
    private static final String NEWER_BUCKETS = "org.apache.paimon.bucket.DefaultBucketFunction";

    private Compat() {}

    /** The library's size-tiered picker; parameters a newer version adds are left out (null). */
    static CompactStrategy picker(int maxSizeAmp, int sizeRatio, int trigger, boolean forceUp)
            throws ReflectiveOperationException {
        Constructor<?> universal = smallest(UniversalCompaction.class.getConstructors());
        Object[] values = new Object[universal.getParameterCount()];
        values[0] = maxSizeAmp;
        values[1] = sizeRatio;
        values[2] = trigger;
        CompactStrategy picker = (CompactStrategy) universal.newInstance(values);
        if (!forceUp) {
            return picker;
        }
        Constructor<?> forced = smallest(ForceUpLevel0Compaction.class.getConstructors());
        Object[] wrapped = new Object[forced.getParameterCount()];
        wrapped[0] = picker;
        return (CompactStrategy) forced.newInstance(wrapped);
    }

    private static Constructor<?> smallest(Constructor<?>[] constructors) {
        return Arrays.stream(constructors)
                .min(Comparator.comparingInt(Constructor::getParameterCount))
                .orElseThrow();
    }

    /** A data file that exists in name only, of the given size and level. */
    static DataFileMeta file(String name, long size, int level)
            throws ReflectiveOperationException {
        Method maker =
                Arrays.stream(DataFileMeta.class.getMethods())
                        .filter(method -> method.getName().equals("forAppend"))
                        .min(Comparator.comparingInt(Method::getParameterCount))
                        .orElseThrow();
        Class<?>[] parameters = maker.getParameterTypes();
        Object[] values = new Object[parameters.length];
        for (int i = 0; i < parameters.length; i++) {
            values[i] = blank(parameters[i]);
        }
        values[0] = name;
        values[1] = size;
        DataFileMeta file = (DataFileMeta) maker.invoke(null, values);
        return level > 0 ? file.upgrade(level) : file;
    }

    private static Object blank(Class<?> type) {
        if (type == long.class) {
            return 0L;
        }
        if (type == SimpleStats.class) {
            return SimpleStats.EMPTY_STATS;
        }
        return type == List.class ? List.of() : null;
    }

    /** The bucket of a key row by the library's default function. */
    static int bucket(BinaryRow key, int buckets) throws ReflectiveOperationException {
        Class<?> newer = find(NEWER_BUCKETS);
        if (newer != null) {
            Object function = newer.getConstructor().newInstance();
            return (int)
                    newer.getMethod("bucket", BinaryRow.class, int.class)
                            .invoke(function, key, buckets);
        }
        Class<?> older = KeyAndBucketExtractor.class;
        int hash = (int) older.getMethod("bucketKeyHashCode", BinaryRow.class).invoke(null, key);
        return (int) older.getMethod("bucket", int.class, int.class).invoke(null, hash, buckets);
    }

    /** A change of a field inside a nested column, which its "path" leads to; needs Paimon 1.0. */
    static SchemaChange nestedChange(JsonNode args) {
        String[] path = Args.texts(args, "path").toArray(new String[0]);
        String op = Args.text(args, "op");
        switch (op) {
            case "add":
                return made("addColumn", path, Args.type(Args.need(args, "type")), null, null);
            case "rename":
                return made("renameColumn", path, Args.text(args, "to"));
            case "drop":
                return made("dropColumn", (Object) path);
            case "type":
                return made("updateColumnType", path, Args.type(Args.need(args, "type")), true);
            default:
                throw new UnsupportedOperationException("schema change " + op);
        }
    }

    private static SchemaChange made(String name, Object... values) {
        for (Method maker : SchemaChange.class.getMethods()) {
            if (maker.getName().equals(name)
                    && maker.getParameterCount() == values.length
                    && maker.getParameterTypes()[0] == String[].class) {
                try {
                    return (SchemaChange) maker.invoke(null, values);
                } catch (ReflectiveOperationException failure) {
                    throw new IllegalStateException(failure);
                }
            }
        }
        throw new UnsupportedOperationException(name + " inside nested columns");
    }

    private static Class<?> find(String name) {
        try {
            return Class.forName(name);
        } catch (ClassNotFoundException absent) {
            return null;
        }
    }

    /** Partition values as the text the library puts in directory names, before escaping. */
    static Map<String, String> partitionText(
            String defaultName, RowType type, boolean legacyNames, InternalRow partition)
            throws ReflectiveOperationException {
        Constructor<?> maker = smallest(InternalRowPartitionComputer.class.getConstructors());
        String[] columns = type.getFieldNames().toArray(new String[0]);
        Object computer =
                maker.getParameterCount() == 4
                        ? maker.newInstance(defaultName, type, columns, legacyNames)
                        : maker.newInstance(defaultName, type, columns);
        return ((InternalRowPartitionComputer) computer).generatePartValues(partition);
    }
}
