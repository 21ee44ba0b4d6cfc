package desilt.peer;

import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.apache.paimon.CoreOptions;
import org.apache.paimon.KeyValue;
import org.apache.paimon.codegen.CodeGenUtils;
import org.apache.paimon.codegen.RecordEqualiser;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.lookup.LookupStrategy;
import org.apache.paimon.mergetree.compact.ChangelogResult;
import org.apache.paimon.mergetree.compact.FullChangelogMergeFunctionWrapper;
import org.apache.paimon.mergetree.compact.LookupChangelogMergeFunctionWrapper;
import org.apache.paimon.mergetree.compact.LookupMergeFunction;
import org.apache.paimon.mergetree.compact.MergeFunction;
import org.apache.paimon.mergetree.compact.MergeFunctionFactory;
import org.apache.paimon.mergetree.compact.MergeFunctionWrapper;
import org.apache.paimon.schema.TableSchema;
import org.apache.paimon.table.PrimaryKeyTableUtils;
import org.apache.paimon.table.PrimaryKeyTableUtils.PrimaryKeyFieldsExtractor;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.RowType;
import org.apache.paimon.utils.UserDefinedSeqComparator;

/** Makers of merge functions and their wrappers, whose signatures differ between versions. */
final class MergeCompat {
    private static final String IGNORED = "changelog-producer.row-deduplicate-ignore-fields";

    private MergeCompat() {}

    /** The factory of a table's merge function, without any wrapper. */
    @SuppressWarnings("unchecked")
    static MergeFunctionFactory<KeyValue> factory(TableSchema schema)
            throws ReflectiveOperationException {
        Method maker = method(PrimaryKeyTableUtils.class, "createMergeFunctionFactory");
        Object made =
                maker.getParameterCount() == 1
                        ? maker.invoke(null, schema)
                        : maker.invoke(null, schema, PrimaryKeyFieldsExtractor.EXTRACTOR);
        return (MergeFunctionFactory<KeyValue>) made;
    }

    /** The same factory as tables have it whose compactions look keys up. */
    @SuppressWarnings("unchecked")
    static MergeFunctionFactory<KeyValue> lookup(TableSchema schema)
            throws ReflectiveOperationException {
        Map<Class<?>, Object> values = new HashMap<>();
        values.put(MergeFunctionFactory.class, factory(schema));
        values.put(CoreOptions.class, new CoreOptions(schema.options()));
        Method maker =
                Arrays.stream(LookupMergeFunction.class.getMethods())
                        .filter(found -> found.getName().equals("wrap"))
                        .findFirst()
                        .orElseThrow();
        RowType[] types = {keyType(schema), schema.logicalRowType()};
        return (MergeFunctionFactory<KeyValue>)
                maker.invoke(null, arguments(maker.getParameterTypes(), values, types));
    }

    /** Both versions take the key's type before the value's, and no other argument twice. */
    private static Object[] arguments(
            Class<?>[] parameters, Map<Class<?>, Object> values, RowType[] types) {
        Object[] found = new Object[parameters.length];
        int next = 0;
        for (int i = 0; i < parameters.length; i++) {
            found[i] =
                    parameters[i] == RowType.class ? types[next++] : values.get(parameters[i]);
        }
        return found;
    }

    static RowType keyType(TableSchema schema) {
        return new RowType(
                PrimaryKeyTableUtils.addKeyNamePrefix(schema.trimmedPrimaryKeysFields()));
    }

    /** What a rewrite into the top level merges with when the producer is full-compaction. */
    @SuppressWarnings("unchecked")
    static MergeFunctionWrapper<ChangelogResult> fullChangelog(
            TableSchema schema, MergeFunction<KeyValue> function, int maxLevel)
            throws ReflectiveOperationException {
        Constructor<?> maker = FullChangelogMergeFunctionWrapper.class.getConstructors()[0];
        Object[] values = new Object[maker.getParameterCount()];
        values[0] = function;
        values[1] = maxLevel;
        equality(schema, values, 2, 3);
        return (MergeFunctionWrapper<ChangelogResult>) maker.newInstance(values);
    }

    /** What a rewrite of level 0 merges with when the producer is lookup. */
    @SuppressWarnings("unchecked")
    static MergeFunctionWrapper<ChangelogResult> lookupChangelog(
            TableSchema schema, Function<InternalRow, KeyValue> lookup)
            throws ReflectiveOperationException {
        Constructor<?> maker = LookupChangelogMergeFunctionWrapper.class.getConstructors()[0];
        Class<?>[] parameters = maker.getParameterTypes();
        Object[] values = new Object[parameters.length];
        values[0] = lookup(schema);
        values[1] = lookup;
        equality(schema, values, 2, 6);
        for (int i = 0; i < parameters.length; i++) {
            if (parameters[i] == LookupStrategy.class) {
                values[i] = LookupStrategy.from(false, true, false, false);
            } else if (parameters[i] == UserDefinedSeqComparator.class) {
                values[i] = sequence(schema);
            }
        }
        return (MergeFunctionWrapper<ChangelogResult>) maker.newInstance(values);
    }

    /**
     * Sets how two values are told apart: a newer version takes no equaliser when none is wanted,
     * an older one takes an equaliser and a flag behind it.
     */
    private static void equality(TableSchema schema, Object[] values, int at, int newer)
            throws ReflectiveOperationException {
        boolean wanted = new CoreOptions(schema.options()).changelogRowDeduplicate();
        if (values.length > newer) {
            values[at] = equaliser(schema);
            values[at + 1] = wanted;
        } else {
            values[at] = wanted ? equaliser(schema) : null;
        }
    }

    private static RecordEqualiser equaliser(TableSchema schema)
            throws ReflectiveOperationException {
        List<DataType> types = schema.logicalRowType().getFieldTypes();
        String ignored = schema.options().get(IGNORED);
        if (ignored == null) {
            return CodeGenUtils.newRecordEqualiser(types);
        }
        Set<String> names = Set.of(ignored.split(","));
        List<String> columns = schema.fieldNames();
        int[] compared =
                IntStream.range(0, columns.size())
                        .filter(i -> !names.contains(columns.get(i)))
                        .toArray();
        return (RecordEqualiser)
                CodeGenUtils.class
                        .getMethod("newRecordEqualiser", List.class, int[].class)
                        .invoke(null, types, compared);
    }

    /** The order of a table's sequence.field columns; null when it has none. */
    static UserDefinedSeqComparator sequence(TableSchema schema) {
        return UserDefinedSeqComparator.create(
                schema.logicalRowType(), new CoreOptions(schema.options()));
    }

    private static Method method(Class<?> owner, String name) {
        return Arrays.stream(owner.getMethods())
                .filter(found -> found.getName().equals(name))
                .findFirst()
                .orElseThrow();
    }
}
