/* Where the fields of PHP's structures stand, for src/usercrash/php/layout.py (with php-dev):
 *
 *     gcc -w $(php-config --includes) -o layout tools/php_layout.c && ./layout
 */
#include "php.h"
#include "zend_compile.h"
#include "zend_globals.h"
#include "zend_modules.h"
#include <stddef.h>
#include <stdio.h>

#define AT(name, type, field) printf("%s %zu\n", name, offsetof(type, field))
#define VALUE(name, value) printf("%s %lu\n", name, (unsigned long)(value))

int main(void) {
    VALUE("api", ZEND_MODULE_API_NO);
    AT("current", struct _zend_executor_globals, current_execute_data);
    AT("opline", zend_execute_data, opline);
    AT("func", zend_execute_data, func);
    AT("call_info", zend_execute_data, This.u1.type_info);
    AT("previous", zend_execute_data, prev_execute_data);
    VALUE("execute_size", sizeof(zend_execute_data));
    AT("kind", zend_function, type);
    AT("name", zend_function, common.function_name);
    AT("scope", zend_function, common.scope);
    AT("last", zend_op_array, last);
    AT("opcodes", zend_op_array, opcodes);
    AT("file", zend_op_array, filename);
    VALUE("function_size", offsetof(zend_op_array, filename) + sizeof(zend_string *));
    VALUE("op_size", sizeof(zend_op));
    AT("line", zend_op, lineno);
    AT("class_name", zend_class_entry, name);
    AT("length", zend_string, len);
    AT("text", zend_string, val);
    VALUE("internal", ZEND_INTERNAL_FUNCTION);
    VALUE("user", ZEND_USER_FUNCTION);
    VALUE("eval", ZEND_EVAL_CODE);
    VALUE("top", ZEND_CALL_TOP);
    return 0;
}
