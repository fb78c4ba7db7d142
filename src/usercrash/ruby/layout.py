"""Where the fields of CRuby's structures stand, by version.

`tools/ruby_layout.c` asks the compiler about the header that Ruby installs for its own compiler
(rb_mjit_min_header: the structures as that build has them). They are of no interface, so a table
holds for exactly one version.
"""

from __future__ import annotations

# 64-bit Linux on x86-64, with glibc: Debian 12's
TABLES = {
    (3, 1, 2): {
        # rb_vm_t, rb_ractor_t, rb_thread_t (vm_core.h, ractor_core.h)
        "vm_ractors": 8, "ractor_node": 568, "ractor_threads": 304, "ractor_lock": 336,
        "thread_node": 0,
        "thread_vm": 32, "thread_ractor": 24, "thread_ec": 40, "thread_id": 80, "thread_size": 92,
        # rb_execution_context_t, rb_control_frame_t
        "ec_stack": 0, "ec_stack_size": 8, "ec_frame": 16, "ec_thread": 48, "ec_size": 56,
        "frame_pc": 0, "frame_iseq": 16, "frame_ep": 32, "frame_size": 64,
        # rb_iseq_t, struct rb_iseq_constant_body
        "iseq_body": 16, "body_size": 4, "body_code": 8, "body_path": 64, "body_label": 80,
        "body_lines": 120, "body_line_count": 136, "body_line_index": 144,
        "body_compiled": 280, "body_bytes": 288,
        # rb_callable_method_entry_t, rb_method_definition_t (method.h)
        "entry_definition": 16, "definition_id": 32, "definition_size": 48,
        # struct RString, struct RArray
        "string_length": 16, "string_pointer": 24, "string_embedded": 16,
        "array_length": 16, "array_pointer": 32, "array_embedded": 16, "object_size": 40,
        # struct vm_svar, environments and their flags
        "svar_method": 8, "env_method": 16,
        "magic_mask": 0x7FFF0001, "magic_cfunc": 0x55550001, "magic_dummy": 0x79990001,
        "flag_finish": 0x20, "flag_cframe": 0x80,
        # flags of objects
        "type_mask": 31, "type_string": 5, "type_array": 7, "type_symbol": 20, "type_imemo": 26,
        "imemo_shift": 12, "imemo_mask": 15, "imemo_method": 6, "imemo_iseq": 7, "imemo_svar": 2,
        "string_noembed": 0x2000, "string_length_mask": 0x7C000, "string_length_shift": 14,
        "array_embed": 0x2000, "array_length_mask": 0x18000, "array_length_shift": 15,
        # struct iseq_insn_info_entry, IDs and symbols
        "line_size": 12, "id_shift": 4, "id_last_operator": 169, "symbol_shift": 8,
        "symbol_flag": 12,
    },
}  # fmt: skip
