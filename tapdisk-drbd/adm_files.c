/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_files.c - verbs that look at files and disks only: dump, dump-md, create-md. See adm.h. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adm.h"
#include "adm_render.h"
#include "libreplica/io/create_md.h"
#include "libreplica/io/place_note.h"

/* ---- configuration -----------------------------------------------------------------------------
 */

int adm_dump(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    if (status == ADM_OK)
        config_dump(&found, stdout);
    return status;
}

static int print_name(struct adm *adm, const char *resource)
{
    (void)adm;
    puts(resource);
    return ADM_OK;
}

int adm_sh_resources(struct adm *adm)
{
    return adm_for_each(adm, print_name);
}

int adm_sh_ll_dev(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    if (status == ADM_OK)
        puts(found.local.disk);
    return status;
}

/* With internal metadata the two are one device. */
int adm_sh_md_dev(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    if (status == ADM_OK)
        puts(strcmp(found.local.meta_disk, "internal") == 0 ? found.local.disk
                                                            : found.local.meta_disk);
    return status;
}

/* ---- dump-md -----------------------------------------------------------------------------------
 */

static void flags_print(uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        {METADATA_CONSISTENT, "consistent"},
        {METADATA_WAS_UPTODATE, "was-up-to-date"},
        {METADATA_PRIMARY, "primary"},
        {METADATA_CONNECTED, "connected"},
        {METADATA_FULL_SYNC, "full-sync"},
        {METADATA_PEER_OUTDATED, "peer-outdated"},
        {METADATA_CRASHED_PRIMARY, "crashed-primary"},
        {METADATA_AL_CLEAN, "al-clean"},
    };

    printf("flags          ");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (flags & names[i].flag)
            printf(" %s", names[i].name);
    printf(";\n");
}

static void superblock_print(const struct metadata_superblock *s, unsigned slot)
{
    const struct generation *g = &s->generation;

    printf("version         %d;\n", METADATA_VERSION);
    printf("slot            %u; sequence %" PRIu64 ";\n", slot, s->sequence);
    printf("device-uuid     0x%016" PRIX64 ";\n", s->device_uuid);
    printf("current         0x%016" PRIX64 ";\n", g->current);
    printf("bitmap          0x%016" PRIX64 ";\n", g->bitmap);
    printf("history         0x%016" PRIX64 " 0x%016" PRIX64 ";\n", g->history[0], g->history[1]);
    flags_print(s->flags);
    printf("epoch           %" PRIu64 ";\n", s->epoch);
    printf("data-bytes      %" PRIu64 ";\n", s->layout.data_bytes);
    printf("peer-bytes      %" PRIu64 ";\n", s->peer_bytes);
    if (s->asked_uuid)
        printf("asked           0x%016" PRIX64 ";\n", s->asked_uuid);
    if (s->stale_end)
        printf("stale-end       %" PRIu64 ";\n", s->stale_end);
    printf("al-extents      %" PRIu32 "; al-offset %" PRIu64 ";\n", s->al_extents,
           s->layout.al_offset);
    printf("bitmap-offset   %" PRIu64 "; bitmap-bytes %" PRIu64 ";\n", s->layout.bitmap_offset,
           s->layout.bitmap_bytes);
}

int adm_dump_md(struct adm *adm, const char *resource)
{
    struct metadata_superblock superblock;
    struct config_resource found;
    struct replica_error error;
    unsigned slot;
    int status = adm_find(adm, resource, &found);

    if (status)
        return status;
    if (create_md_read(found.local.disk, found.local.meta_disk, &superblock, &slot, &error))
        return adm_fail_error(&error);
    printf("# %s on %s: %s, metadata %s\n", resource, found.local.name, found.local.disk,
           found.local.meta_disk);
    superblock_print(&superblock, slot);
    return ADM_OK;
}

/* ---- create-md ---------------------------------------------------------------------------------
 */

int adm_create_md(struct adm *adm, const char *resource)
{
    struct metadata_superblock created;
    struct config_resource found;
    struct replica_error error;
    char size[16];
    int status = adm_find(adm, resource, &found);

    if (status)
        return status;
    if (adm_is_up(adm, resource) && adm_has_disk(adm, resource))
        return adm_fail(ADM_REFUSED,
                        "%s: it is up: `tapdrbdadm down %s` first, or `detach` to replace its disk",
                        resource, resource);
    if (create_md(found.local.disk, found.local.meta_disk, found.al_extents,
                  adm->options & ADM_OPTION_FORCE, &created, &error) ||
        place_forget(place_directory(adm->run_dir), resource, &error))
        return adm_fail_error(&error);
    adm_render_size((double)created.layout.data_bytes / 1024, size, sizeof size);
    printf("%s: new metadata written; the guest will see %s (%" PRIu64 " bytes)\n", resource, size,
           created.layout.data_bytes);
    return ADM_OK;
}
