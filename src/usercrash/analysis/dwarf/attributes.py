"""Numbers of `.debug_info` that more than one module here needs (DWARF 5 section 7.5; GNU's)."""

from __future__ import annotations

UT_compile, UT_type, UT_partial, UT_skeleton, UT_split_compile, UT_split_type = range(1, 7)
AT_sibling, AT_name, AT_stmt_list, AT_low_pc, AT_high_pc = 0x01, 0x03, 0x10, 0x11, 0x12
AT_language, AT_comp_dir, AT_abstract_origin, AT_declaration = 0x13, 0x1B, 0x31, 0x3C
AT_specification, AT_ranges, AT_linkage_name = 0x47, 0x55, 0x6E
AT_str_offsets_base, AT_addr_base, AT_rnglists_base, AT_dwo_name = 0x72, 0x73, 0x74, 0x76
AT_GNU_dwo_name, AT_GNU_dwo_id = 0x2130, 0x2131
AT_GNU_ranges_base, AT_GNU_addr_base = 0x2132, 0x2133
