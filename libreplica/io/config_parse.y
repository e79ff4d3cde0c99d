/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config_parse.y - the shape of a *.res file: words, then ';' or a block of statements. Pure
 * parser: everything it makes is in the tree. Nesting is bounded by CONFIG_DEPTH_MAX, so the
 * parser's stack is too.
 */
%code requires {
#include "libreplica/io/config_tree.h"

struct config_list {
    struct config_statement *first, *last;
};
struct config_words {
    struct config_word *first, *last;
};
}
%code {
int config_yylex(union CONFIG_YYSTYPE *value, void *scanner);
void config_yyset_extra(struct config_tree *tree, void *scanner);
int config_yyget_lineno(void *scanner);

static void config_yyerror(void *scanner, struct config_tree *tree, const char *text);
}

%define api.prefix {config_yy}
%define api.pure full
%define api.token.prefix {TOKEN_}
%define parse.error custom
%define parse.lac full
%parse-param {void *scanner} {struct config_tree *tree}
%lex-param {void *scanner}
%initial-action {
    config_yyset_extra(tree, scanner);
    (void)yynerrs; /* bison counts it, clang sees nobody read it */
}

%union {
    struct config_word *word;
    struct config_words words;
    struct config_statement *statement;
    struct config_list list;
}

%token <word> WORD "a word"
%token SEMICOLON "';'" OPEN "'{'" CLOSE "'}'"
%token END 0 "the end of the file"
%type <words> words
%type <statement> statement
%type <list> statements

%%

file: statements            { tree->statements = $1.first; }
    ;

statements: %empty          { $$.first = $$.last = NULL; }
    | statements statement  {
        $$ = $1;
        if ($$.last)
            $$.last->next = $2;
        else
            $$.first = $2;
        $$.last = $2;
    }
    ;

statement: words SEMICOLON  {
        $$ = config_tree_statement(tree, $1.first);
        if (!$$)
            YYABORT;
    }
    | words OPEN            {
        if (tree->depth == CONFIG_DEPTH_MAX) {
            config_tree_fail(tree, $1.first->line, "expected at most %d blocks inside each other",
                             CONFIG_DEPTH_MAX);
            YYABORT;
        }
        tree->block_lines[tree->depth++] = $1.last->line;
    } statements CLOSE      {
        tree->depth--;
        $$ = config_tree_statement(tree, $1.first);
        if (!$$)
            YYABORT;
        $$->block = true;
        $$->children = $4.first;
    }
    ;

words: WORD                 { $$.first = $$.last = $1; }
    | words WORD            { $$ = $1; $$.last->next = $2; $$.last = $2; }
    ;

%%

/* Out of memory, or the parser's stack is full; the scanner's own errors are recorded already. */
static void config_yyerror(void *scanner, struct config_tree *tree, const char *text)
{
    config_tree_fail(tree, config_yyget_lineno(scanner), "%s", text);
}

/* Called for a token out of place. Inside a statement the fix is a ';' behind the last word. */
static int yyreport_syntax_error(const yypcontext_t *context, void *scanner,
                                 struct config_tree *tree)
{
    yysymbol_kind_t found = yypcontext_token(context), expected[YYNTOKENS];
    int count = yypcontext_expected_tokens(context, expected, YYNTOKENS);
    int line = config_yyget_lineno(scanner);
    bool in_statement = false;

    for (int i = 0; i < count; i++)
        in_statement |= expected[i] == YYSYMBOL_SEMICOLON;
    if (in_statement)
        config_tree_fail(tree, tree->last_line, "expected ';' after '%s', found %s",
                         tree->last_word, yysymbol_name(found));
    else if (found == YYSYMBOL_YYEOF && tree->depth > 0)
        config_tree_fail(tree, line,
                         "expected '}', found the end of the file: the block that begins in line "
                         "%d is still open",
                         tree->block_lines[tree->depth - 1]);
    else if (found == YYSYMBOL_CLOSE)
        config_tree_fail(tree, line, "expected a section, found '}': one '}' too many");
    else
        config_tree_fail(tree, line, "expected a keyword, found %s", yysymbol_name(found));
    return 0;
}
