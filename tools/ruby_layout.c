/* Where the fields of CRuby's structures stand, for src/usercrash/ruby/layout.py. Of the installed
 * headers (ruby-dev) only the one for MJIT has them:
 *
 *     gcc -w -O1 -include RUBY_ARCH_INCLUDE/rb_mjit_min_header-VERSION.h \
 *         -o layout tools/ruby_layout.c && ./layout
 */
#undef printf
#define AT(name, type, field) printf("%s %zu\n", name, __builtin_offsetof(type, field))
#define VALUE_OF(name, value) printf("%s %lu\n", name, (unsigned long)(value))

typedef struct rb_iseq_constant_body body;
typedef struct RString string;

int main(void)
{
    AT("vm_ractors", rb_vm_t, ractor.set);
    AT("ractor_node", rb_ractor_t, vmlr_node);
    AT("ractor_threads", rb_ractor_t, threads.set);
    AT("ractor_lock", rb_ractor_t, threads.gvl.owner);
    AT("thread_node", rb_thread_t, lt_node);
    AT("thread_vm", rb_thread_t, vm);
    AT("thread_ractor", rb_thread_t, ractor);
    AT("thread_ec", rb_thread_t, ec);
    AT("thread_id", rb_thread_t, thread_id);
    VALUE_OF("thread_size", __builtin_offsetof(rb_thread_t, tid) + sizeof(int));
    AT("ec_stack", rb_execution_context_t, vm_stack);
    AT("ec_stack_size", rb_execution_context_t, vm_stack_size);
    AT("ec_frame", rb_execution_context_t, cfp);
    AT("ec_thread", rb_execution_context_t, thread_ptr);
    VALUE_OF("ec_size", __builtin_offsetof(rb_execution_context_t, thread_ptr) + sizeof(void *));
    AT("frame_pc", rb_control_frame_t, pc);
    AT("frame_iseq", rb_control_frame_t, iseq);
    AT("frame_ep", rb_control_frame_t, ep);
    VALUE_OF("frame_size", sizeof(rb_control_frame_t));
    AT("iseq_body", rb_iseq_t, body);
    AT("body_size", body, iseq_size);
    AT("body_code", body, iseq_encoded);
    AT("body_path", body, location.pathobj);
    AT("body_label", body, location.label);
    AT("body_lines", body, insns_info.body);
    AT("body_line_count", body, insns_info.size);
    AT("body_line_index", body, insns_info.succ_index_table);
    AT("body_compiled", body, jit_func);
    VALUE_OF("body_bytes", __builtin_offsetof(body, jit_func) + sizeof(void *));
    AT("entry_definition", rb_callable_method_entry_t, def);
    AT("definition_id", rb_method_definition_t, original_id);
    VALUE_OF("definition_size", sizeof(rb_method_definition_t));
    AT("string_length", string, as.heap.len);
    AT("string_pointer", string, as.heap.ptr);
    AT("string_embedded", string, as.embed.ary);
    AT("array_length", struct RArray, as.heap.len);
    AT("array_pointer", struct RArray, as.heap.ptr);
    AT("array_embedded", struct RArray, as.ary);
    VALUE_OF("object_size", sizeof(struct RArray));
    AT("svar_method", struct vm_svar, cref_or_me);
    VALUE_OF("env_method", -VM_ENV_DATA_INDEX_ME_CREF * 8); /* before the environment's pointer */
    VALUE_OF("magic_mask", VM_FRAME_MAGIC_MASK);
    VALUE_OF("magic_cfunc", VM_FRAME_MAGIC_CFUNC);
    VALUE_OF("magic_dummy", VM_FRAME_MAGIC_DUMMY);
    VALUE_OF("flag_finish", VM_FRAME_FLAG_FINISH);
    VALUE_OF("flag_cframe", VM_FRAME_FLAG_CFRAME);
    VALUE_OF("type_mask", RUBY_T_MASK);
    VALUE_OF("type_string", RUBY_T_STRING);
    VALUE_OF("type_array", RUBY_T_ARRAY);
    VALUE_OF("type_symbol", RUBY_T_SYMBOL);
    VALUE_OF("type_imemo", RUBY_T_IMEMO);
    VALUE_OF("imemo_shift", RUBY_FL_USHIFT);
    VALUE_OF("imemo_mask", IMEMO_MASK);
    VALUE_OF("imemo_method", imemo_ment);
    VALUE_OF("imemo_iseq", imemo_iseq);
    VALUE_OF("imemo_svar", imemo_svar);
    VALUE_OF("string_noembed", RSTRING_NOEMBED);
    VALUE_OF("string_length_mask", RSTRING_EMBED_LEN_MASK);
    VALUE_OF("string_length_shift", RSTRING_EMBED_LEN_SHIFT);
    VALUE_OF("array_embed", RARRAY_EMBED_FLAG);
    VALUE_OF("array_length_mask", RARRAY_EMBED_LEN_MASK);
    VALUE_OF("array_length_shift", RARRAY_EMBED_LEN_SHIFT);
    VALUE_OF("line_size", sizeof(struct iseq_insn_info_entry));
    VALUE_OF("id_shift", RUBY_ID_SCOPE_SHIFT);
    VALUE_OF("id_last_operator", tLAST_OP_ID);
    VALUE_OF("symbol_shift", RUBY_SPECIAL_SHIFT);
    VALUE_OF("symbol_flag", RUBY_SYMBOL_FLAG);
    return 0;
}
