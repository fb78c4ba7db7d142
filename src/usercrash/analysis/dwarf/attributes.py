"""Numbers of `.debug_info` that more than one module here needs (DWARF 5 section 7.5; GNU's)."""

from __future__ import annotations

UT_compile, UT_type, UT_partial, UT_skeleton, UT_split_compile, UT_split_type = range(1, 7)
AT_sibling, AT_name, AT_stmt_list, AT_low_pc, AT_high_pc = 0x01, 0x03, 0x10, 0x11, 0x12
AT_language, AT_comp_dir, AT_abstract_origin, AT_declaration = 0x13, 0x1B, 0x31, 0x3C
AT_specification, AT_ranges, AT_linkage_name = 0x47, 0x55, 0x6E
AT_str_offsets_base, AT_addr_base, AT_rnglists_base, AT_dwo_name = 0x72, 0x73, 0x74, 0x76
AT_GNU_dwo_name, AT_GNU_dwo_id = 0x2130, 0x2131
AT_GNU_ranges_base, AT_GNU_addr_base = 0x2132, 0x2133
AT_location, AT_byte_size, AT_bit_offset, AT_bit_size = 0x02, 0x0B, 0x0C, 0x0D
AT_discr, AT_discr_value, AT_const_value, AT_containing_type = 0x15, 0x16, 0x1C, 0x1D
AT_lower_bound, AT_upper_bound, AT_artificial, AT_count = 0x22, 0x2F, 0x34, 0x37
AT_data_member_location, AT_discr_list, AT_encoding, AT_external = 0x38, 0x3D, 0x3E, 0x3F
AT_frame_base, AT_type, AT_signature, AT_data_bit_offset = 0x40, 0x49, 0x69, 0x6B
AT_call_return_pc, AT_call_value, AT_call_origin, AT_call_target = 0x7D, 0x7E, 0x7F, 0x83
AT_loclists_base, AT_GNU_vector = 0x8C, 0x2107
AT_GNU_call_site_value, AT_GNU_call_site_target = 0x2111, 0x2113
