/* Where the fields of Perl's structures stand, for src/usercrash/perl/layout.py:
 *
 *     gcc -w $(perl -MConfig -e 'print "$Config{ccflags} -I$Config{archlibexp}/CORE"') \
 *         -o layout tools/perl_layout.c && ./layout
 */
#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include <stddef.h>
#include <stdio.h>
#undef printf

#define AT(name, type, field) printf("%s %zu\n", name, offsetof(type, field))
#define VALUE(name, value) printf("%s %lu\n", name, (unsigned long)(value))

/* op_type is a bit field behind these. */
struct base { OP *next, *sibling, *(*address)(pTHX); PADOFFSET target; };

int main(void) {
    printf("%d %d %zu\n", PERL_REVISION, PERL_VERSION, sizeof(struct interpreter));
    AT("curcop", struct interpreter, Icurcop);
    AT("curstackinfo", struct interpreter, Icurstackinfo);
    AT("compiling", struct interpreter, Icompiling);
    AT("si_stack", PERL_SI, si_stack);
    AT("si_cxstack", PERL_SI, si_cxstack);
    AT("si_prev", PERL_SI, si_prev);
    AT("si_cxix", PERL_SI, si_cxix);
    AT("si_cxmax", PERL_SI, si_cxmax);
    AT("si_type", PERL_SI, si_type);
    VALUE("cx_size", sizeof(PERL_CONTEXT));
    AT("cx_type", PERL_CONTEXT, cx_u.cx_blk.blku_type);
    AT("cx_oldcop", PERL_CONTEXT, cx_u.cx_blk.blku_oldcop);
    AT("cx_retop", PERL_CONTEXT, cx_u.cx_blk.blk_u.blku_sub.retop);
    AT("cx_cv", PERL_CONTEXT, cx_u.cx_blk.blk_u.blku_sub.cv);
    AT("op_targ", struct base, target);
    VALUE("cop_type", sizeof(struct base));
    AT("cop_line", COP, cop_line);
    AT("cop_file", COP, cop_file);
    VALUE("cop_size", sizeof(COP));
    AT("sv_any", SV, sv_any);
    AT("sv_flags", SV, sv_flags);
    AT("sv_u", SV, sv_u);
    AT("cv_stash", XPVCV, xcv_stash);
    AT("cv_gv", XPVCV, xcv_gv_u);
    AT("cv_flags", XPVCV, xcv_flags);
    AT("gv_name", XPVGV, xiv_u);
    AT("gv_stash", XPVGV, xnv_u);
    AT("gp_egv", GP, gp_egv);
    AT("hv_aux", struct xpvhv_with_aux, xhv_aux);
    AT("hv_name_count", struct xpvhv_aux, xhv_name_count);
    AT("hek_length", HEK, hek_len);
    AT("hek_key", HEK, hek_key);
    VALUE("op_nextstate", OP_NEXTSTATE);
    VALUE("op_dbstate", OP_DBSTATE);
    VALUE("sv_av", SVt_PVAV);
    VALUE("sv_hv", SVt_PVHV);
    VALUE("sv_cv", SVt_PVCV);
    VALUE("sv_fm", SVt_PVFM);
    VALUE("sv_gv", SVt_PVGV);
    VALUE("cx_sub", CXt_SUB);
    VALUE("cx_format", CXt_FORMAT);
    VALUE("cx_eval", CXt_EVAL);
    VALUE("cx_fake", CXp_SUB_RE_FAKE);
    VALUE("cv_named", CVf_NAMED);
    VALUE("hv_ook", SVf_OOK);
    return 0;
}
