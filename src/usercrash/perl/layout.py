"""Where the fields of Perl's structures stand, by version.

`tools/perl_layout.c` asks the compiler about the headers of the installed Perl. A table holds
only for an interpreter whose own version and size of `struct interpreter` (PL_revision …,
PL_interp_size: exported, "for binary compatibility checks" by globvar.sym) are these.
"""

from __future__ import annotations

# (version, size of struct interpreter): Debian 12's, x86-64, with ithreads
TABLES = {
    ((5, 36), 3768): {
        # struct interpreter (intrpvar.h)
        "curcop": 208, "curstackinfo": 224, "compiling": 1936,
        # struct stackinfo (cop.h)
        "si_stack": 0, "si_cxstack": 8, "si_prev": 16, "si_cxix": 32, "si_cxmax": 36, "si_type": 44,
        # struct context (cop.h)
        "cx_size": 104, "cx_type": 0, "cx_oldcop": 16, "cx_retop": 48, "cx_cv": 72,
        # struct cop
        "op_targ": 24, "cop_type": 32, "cop_line": 36, "cop_file": 48, "cop_size": 88,
        # struct sv, and the bodies of a CV, GV, HV (sv.h, cv.h, gv.h, hv.h)
        "sv_any": 0, "sv_flags": 12, "sv_u": 16,
        "cv_stash": 32, "cv_gv": 56, "cv_flags": 92, "gv_name": 32, "gv_stash": 40, "gp_egv": 56,
        "hv_aux": 32, "hv_name_count": 28, "hek_length": 4, "hek_key": 8,
        # values
        "op_nextstate": 195, "op_dbstate": 196, "sv_av": 11, "sv_hv": 12, "sv_cv": 13, "sv_fm": 14,
        "sv_gv": 9, "cx_sub": 9, "cx_format": 10, "cx_eval": 11, "cx_fake": 0x80,
        "cv_named": 0x8000,
        "hv_ook": 0x02000000,
    },
}  # fmt: skip
