/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.c - role x disk x link: which command is refused, with which code and which text.
 *
 * One table, read from the top; the first row that matches refuses. What no row matches is allowed.
 * A mask of 0 matches everything. In a text, %r is the resource, %n this node, %p the peer.
 *
 * Whether the peer is Primary forbids no promotion here: it may have died a second ago, so a
 * promotion always asks (role.c).
 */
#include "core_private.h"

#include <stdio.h>
#include <string.h>

#define BIT(value) (1u << (value))

enum state_link { LINKED_NOT, LINKED_FROZEN, LINKED_HANDSHAKE, LINKED_LIVE, LINKED_SYNC };

enum {
    NO_DISK = BIT(REPLICA_DISK_DISKLESS) | BIT(REPLICA_DISK_ATTACHING) |
              BIT(REPLICA_DISK_DETACHING) | BIT(REPLICA_DISK_FAILED),
    GOOD_DISK = BIT(REPLICA_DISK_CONSISTENT) | BIT(REPLICA_DISK_UPTODATE),
    CONNECTED = BIT(LINKED_LIVE) | BIT(LINKED_SYNC),
    UNLINKED = BIT(LINKED_NOT) | BIT(LINKED_FROZEN)
};

struct rule {
    enum command_kind command;
    unsigned role, disk, link, peer_disk, peer_role; /* masks */
    uint32_t with, without; /* command_flags: the row holds only if all / none of them are given */
    int code;
    const char *text;
};

static const char no_disk[] =
    "%r: no disk is attached on %n; look into the log for why, then `tapdrbdadm attach %r`";
static const char guest_of_peer[] =
    "%r: the guest on %p lives from the disk of %n; make that of %p UpToDate first (attach, "
    "wait-sync); with --force the guest gets errors";

static const struct rule rules[] = {
    {COMMAND_ATTACH, 0, ~(unsigned)BIT(REPLICA_DISK_DISKLESS), 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: its disk is attached already"},
    /* What the session is about to say of this disk must stay true. */
    {COMMAND_ATTACH, BIT(REPLICA_ROLE_PRIMARY), 0, BIT(LINKED_HANDSHAKE), 0, 0, 0, 0,
     REPLICA_E_BUSY, "%r: %n and %p are just connecting; try again in a moment"},

    {COMMAND_DETACH, 0, ~(unsigned)GOOD_DISK, 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n has no disk that could be detached now; see `tapdrbdadm status %r`"},
    {COMMAND_DETACH, BIT(REPLICA_ROLE_PRIMARY), 0, ~(unsigned)BIT(LINKED_LIVE), 0, 0, 0, 0,
     REPLICA_E_NOT_UPTODATE,
     "%r: the guest on %n would be left without a disk: %p is not connected, or not in sync"},
    {COMMAND_DETACH, BIT(REPLICA_ROLE_PRIMARY), 0, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0,
     0, REPLICA_E_NOT_UPTODATE,
     "%r: the guest on %n would be left without a disk: that of %p is not UpToDate"},
    {COMMAND_DETACH, 0, 0, BIT(LINKED_HANDSHAKE) | BIT(LINKED_SYNC), 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n is connecting or resyncing: wait for that (tapdrbdadm wait-sync %r)"},

    {COMMAND_CONNECT, BIT(REPLICA_ROLE_SECONDARY), NO_DISK, 0, 0, 0, 0, 0, REPLICA_E_STATE,
     no_disk},
    {COMMAND_CONNECT, 0, NO_DISK & ~(unsigned)BIT(REPLICA_DISK_DISKLESS), 0, 0, 0, 0, 0,
     REPLICA_E_STATE, no_disk},

    {COMMAND_CONNECT, BIT(REPLICA_ROLE_PRIMARY), 0, 0, 0, 0, COMMAND_DISCARD_MY_DATA, 0,
     REPLICA_E_STATE,
     "%r: %n is Primary and its data are in use; make it Secondary first, or discard those of %p"},

    {COMMAND_DISCONNECT, BIT(REPLICA_ROLE_PRIMARY), ~(unsigned)BIT(REPLICA_DISK_UPTODATE),
     CONNECTED, 0, 0, 0, COMMAND_FORCE, REPLICA_E_NOT_UPTODATE,
     "%r: the guest on %n lives from the disk of %p; make %n Secondary first, or disconnect "
     "--force"},
    {COMMAND_DISCONNECT, BIT(REPLICA_ROLE_SECONDARY), 0, CONNECTED,
     ~(unsigned)BIT(REPLICA_DISK_UPTODATE), BIT(REPLICA_ROLE_PRIMARY), 0, COMMAND_FORCE,
     REPLICA_E_NOT_UPTODATE, guest_of_peer},
    {COMMAND_DOWN, BIT(REPLICA_ROLE_SECONDARY), 0, CONNECTED, ~(unsigned)BIT(REPLICA_DISK_UPTODATE),
     BIT(REPLICA_ROLE_PRIMARY), 0, COMMAND_FORCE, REPLICA_E_NOT_UPTODATE, guest_of_peer},

    {COMMAND_PROMOTE, 0, NO_DISK, 0, 0, 0, 0, 0, REPLICA_E_NOT_UPTODATE,
     "%r: %n has no disk; replace it and attach it (tapdrbdadm attach %r), or use %p"},
    {COMMAND_PROMOTE, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), CONNECTED, GOOD_DISK, 0, 0, 0,
     REPLICA_E_NOT_UPTODATE,
     "%r: the disk of %n is not UpToDate yet; wait for the resync (tapdrbdadm wait-sync %r), or "
     "start the guest on %p"},
    {COMMAND_PROMOTE, 0, BIT(REPLICA_DISK_INCONSISTENT), CONNECTED, 0, 0, 0, COMMAND_FORCE,
     REPLICA_E_NOT_UPTODATE,
     "%r: neither %n nor %p is UpToDate. New disks: `tapdrbdadm new-current-uuid --clear-bitmap "
     "%r` (both are empty), or `primary --force %r` where the data are (full sync)"},
    {COMMAND_PROMOTE, 0, BIT(REPLICA_DISK_INCONSISTENT), 0, 0, 0, 0, COMMAND_FORCE,
     REPLICA_E_NOT_UPTODATE,
     "%r: the disk of %n is Inconsistent and %p is not connected; connect it first, or `primary "
     "--force %r` if its data are lost for good"},
    {COMMAND_PROMOTE, 0, BIT(REPLICA_DISK_OUTDATED), 0, 0, 0, 0, COMMAND_FORCE,
     REPLICA_E_NOT_UPTODATE,
     "%r: the disk of %n is Outdated, %p has newer data; connect it first, or `primary --force "
     "%r` if they are lost for good"},
    {COMMAND_PROMOTE, 0, BIT(REPLICA_DISK_CONSISTENT), 0, 0, 0, 0, COMMAND_FORCE,
     REPLICA_E_NOT_UPTODATE,
     "%r: %n cannot know whether %p has newer data; connect it first, or `primary --force %r` if "
     "%p is dead"},

    {COMMAND_INVALIDATE, 0, NO_DISK, 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n has no disk whose data could be given up"},
    {COMMAND_INVALIDATE, BIT(REPLICA_ROLE_PRIMARY), 0, 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n is Primary and its data are in use; make it Secondary first"},
    /* The peer may be giving up its own data at this moment, for these. */
    {COMMAND_INVALIDATE, 0, 0, BIT(LINKED_HANDSHAKE), 0, 0, 0, 0, REPLICA_E_BUSY,
     "%r: %n and %p are just connecting; try again in a moment"},
    {COMMAND_INVALIDATE, 0, 0, CONNECTED, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0, 0,
     REPLICA_E_NOT_UPTODATE, "%r: %p is not UpToDate, and %n would have nobody to sync from"},

    {COMMAND_INVALIDATE_REMOTE, 0, 0, ~(unsigned)CONNECTED, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %p is not connected; connect it first, or type `tapdrbdadm invalidate %r` there"},
    {COMMAND_INVALIDATE_REMOTE, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0, 0, 0, 0,
     REPLICA_E_NOT_UPTODATE, "%r: %n is not UpToDate, and %p would have nobody to sync from"},

    {COMMAND_OUTDATE, 0, NO_DISK | BIT(REPLICA_DISK_INCONSISTENT), 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: the disk of %n is not even consistent"},
    {COMMAND_OUTDATE, BIT(REPLICA_ROLE_PRIMARY), 0, 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n is Primary: what is in use is not outdated"},
    {COMMAND_OUTDATE, 0, 0, ~(unsigned)UNLINKED, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n is connected to %p and gets what is new; disconnect first"},

    {COMMAND_RESUME_IO, BIT(REPLICA_ROLE_SECONDARY), 0, 0, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %n is Secondary: no guest's I/O waits here"},
    {COMMAND_RESUME_IO, 0, 0, CONNECTED, 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: %p is connected and no I/O is frozen"},

    {COMMAND_VERIFY, 0, 0, ~(unsigned)BIT(LINKED_LIVE), 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: a verification needs both nodes connected and no resync; see `tapdrbdadm status %r`"},
    {COMMAND_VERIFY, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0, 0, 0, 0,
     REPLICA_E_NOT_UPTODATE, "%r: the disk of %n is not UpToDate: there is nothing to compare yet"},
    {COMMAND_VERIFY, 0, 0, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0, 0,
     REPLICA_E_NOT_UPTODATE, "%r: the disk of %p is not UpToDate: there is nothing to compare yet"},

    {COMMAND_RESIZE, 0, 0, ~(unsigned)BIT(LINKED_LIVE), 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: both nodes grow together: they must be connected and no resync under way; see "
     "`tapdrbdadm status %r`"},
    {COMMAND_RESIZE, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0, 0, 0, 0,
     REPLICA_E_NOT_UPTODATE,
     "%r: the disk of %n is not UpToDate; replace it or wait for the resync, then resize"},
    {COMMAND_RESIZE, 0, 0, 0, ~(unsigned)BIT(REPLICA_DISK_UPTODATE), 0, 0, 0,
     REPLICA_E_NOT_UPTODATE,
     "%r: the disk of %p is not UpToDate; replace it or wait for the resync, then resize"},

    {COMMAND_NEW_UUID, 0, NO_DISK, 0, 0, 0, 0, 0, REPLICA_E_STATE, no_disk},
    {COMMAND_NEW_UUID, 0, 0, ~(unsigned)BIT(LINKED_LIVE), 0, 0, 0, 0, REPLICA_E_STATE,
     "%r: a new generation needs both nodes connected and no resync; see `tapdrbdadm status %r`"},
    {COMMAND_NEW_UUID, 0, ~(unsigned)BIT(REPLICA_DISK_INCONSISTENT), 0, 0, 0, COMMAND_CLEAR_BITMAP,
     0, REPLICA_E_STATE,
     "%r: --clear-bitmap is for two new disks that were never used; the disk of %n is in use"},
    {COMMAND_NEW_UUID, 0, BIT(REPLICA_DISK_INCONSISTENT), 0, 0, 0, 0, COMMAND_CLEAR_BITMAP,
     REPLICA_E_STATE,
     "%r: the disk of %n is Inconsistent; new disks need --clear-bitmap, others a resync"},
};

static enum state_link link_of(const struct core *core)
{
    if (session_handshaking(core))
        return LINKED_HANDSHAKE;
    if (!session_live(core))
        return core->loss.phase == LOSS_FROZEN ? LINKED_FROZEN : LINKED_NOT;
    return core->session.side == SYNC_NONE ? LINKED_LIVE : LINKED_SYNC;
}

static bool in(unsigned mask, unsigned value)
{
    return mask == 0 || (mask & BIT(value));
}

static bool matches(const struct core *core, const struct rule *rule, enum command_kind command,
                    uint32_t flags)
{
    return rule->command == command && in(rule->role, core->role) && in(rule->disk, core->disk) &&
           in(rule->link, link_of(core)) && in(rule->peer_disk, core->peer_disk) &&
           in(rule->peer_role, core->peer_role) && (flags & rule->with) == rule->with &&
           !(flags & rule->without);
}

static void fill_in(const struct core *core, const char *from, char text[ACTION_TEXT_MAX])
{
    size_t at = 0;

    for (; *from && at + 1 < ACTION_TEXT_MAX; from++) {
        const char *word = NULL;

        if (from[0] == '%' && from[1] == 'r')
            word = core->config.resource;
        else if (from[0] == '%' && from[1] == 'n')
            word = core->config.node;
        else if (from[0] == '%' && from[1] == 'p')
            word = core->config.peer_node;
        if (!word) {
            text[at++] = *from;
            continue;
        }
        from++;
        at += (size_t)snprintf(text + at, ACTION_TEXT_MAX - at, "%s", word);
        if (at >= ACTION_TEXT_MAX)
            at = ACTION_TEXT_MAX - 1;
    }
    text[at] = 0;
}

int state_allows(const struct core *core, enum command_kind command, uint32_t flags,
                 char text[ACTION_TEXT_MAX])
{
    text[0] = 0;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (matches(core, &rules[i], command, flags) &&
            !(MUTANT(promote_unfit) && command == COMMAND_PROMOTE) &&
            !(MUTANT(invalidate_any_time) && rules[i].link == BIT(LINKED_HANDSHAKE))) {
            fill_in(core, rules[i].text, text);
            return rules[i].code;
        }
    return 0;
}
