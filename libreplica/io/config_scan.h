/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_scan.h - the scanner of *.res files as config_tree.c and the grammar see it. */
#ifndef IO_CONFIG_SCAN_H
#define IO_CONFIG_SCAN_H

#include <stddef.h>

/* A scanner over `length` bytes, which are copied. Errors: -1, out of memory. */
int config_scan_open(void **scanner, const char *text, size_t length);
void config_scan_close(void *scanner);

#endif
