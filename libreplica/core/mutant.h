/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mutant.h - planted bugs, to prove that the simulator can fail.
 *
 * MUTANT(name) stands in the condition that the bug breaks: `if (MUTANT(ack_early) || both_done)`.
 * It is 0 in everything that is installed. Only the simulator is built with CORE_MUTANTS; it then
 * switches on one bug at a time.
 */
#ifndef CORE_MUTANT_H
#define CORE_MUTANT_H

#ifdef CORE_MUTANTS

/* name, what the bug does; by the file in which it is planted */
#define CORE_MUTANT_LIST(X)                                                                       \
    /* write.c */                                                                                 \
    X(ack_before_peer, "a write completes without waiting for the peer")                          \
    X(ack_before_disk, "a write completes when the peer has it, before the local disk does")      \
    X(answer_during_loss, "a write completes while the loss of the peer is being recorded")       \
    X(alone_unrecorded, "guest writes go on alone before the loss is recorded")                   \
    X(alone_unmarked, "a write without a peer sets no out-of-sync bit")                           \
    X(flight_unmarked, "a write in flight when the peer is lost sets no out-of-sync bit")         \
    X(piece_unmarked, "of a long discard no piece is marked after one that was")                  \
    X(unflushed_forgotten, "a write that both have is forgotten before it is flushed")            \
    X(start_cold, "a write starts before its activity-log transaction is on disk")                \
    X(half_hot, "of a write over two extents only the first need be in the activity log")         \
    X(fua_lost, "a forced write is an ordinary one on the local disk")                            \
    X(failing_succeeds, "a frozen request whose guest gives up is answered with success")         \
    X(failing_waits, "what was not begun when a frozen node is demoted is not answered")          \
    X(next_extent_cold, "a write that ends in the first block of an extent leaves that one cold") \
    X(extent_leaks, "a discard that finds no room in the activity log keeps a reference")         \
    X(refused_write_counts, "a write that the peer has refused counts as committed there")        \
    /* request.c */                                                                               \
    X(lost_flush_silent,                                                                          \
      "a Primary that lives from its peer loses it and its next flush succeeds")                  \
    X(fua_not_sent, "a forced write is an ordinary one on the peer")                              \
    X(demoting_takes_more, "a request that comes during a demotion is begun")                     \
    X(inconsistent_read, "a guest reads from a disk that is not UpToDate")                        \
    X(read_goes_back, "a read of a disk that was a target goes behind what the peer has shown")   \
    X(secondary_serves, "a node that is not Primary takes a guest's request")                     \
    X(past_the_end, "a request may reach one sector past the end")                                \
    X(frozen_serves_reads, "a frozen Primary reads, though another one may write by now")         \
    /* write.c, disks */                                                                          \
    X(failed_write_passed_on, "on-io-error pass_on keeps a disk that has failed a write")         \
    /* loss.c, attach.c: a disk goes and comes */                                                 \
    X(asked_generation_forgotten, "what a lost peer may have been told to begin is no ancestor")  \
    X(takeover_unasked, "a Primary goes on without its disk before the peer has taken over")      \
    X(failed_disk_stays, "a disk that has failed cannot be attached any more")                    \
    X(lives_on_anywhere, "a Primary without a disk goes on through any copy that it meets")       \
    X(takeover_remembered, "a takeover outlives its detach, and names a copy that is older now")  \
    X(attached_uptodate, "a disk that a Primary attaches counts as UpToDate")                     \
    /* interval.c */                                                                              \
    X(overlap_runs, "overlapping requests run at once")                                           \
    X(last_waiter, "of what waits for two overlapping requests one is enough")                    \
    /* confirm.c */                                                                               \
    X(no_local_flush, "a flush does not flush the local disk")                                    \
    X(no_peer_flush, "a flush does not flush the peer")                                           \
    X(flush_not_awaited, "a flush completes before the local disk has flushed")                   \
    X(flush_joins, "a flush joins one under way, which began before its writes were over")        \
    X(no_bits_in_confirm, "extents leave the activity log before the bits set alone are on disk") \
    X(bits_not_awaited,                                                                           \
      "extents leave the activity log while the bits set alone are being written")                \
    X(abort_ignored, "a flush cut by the loss of the peer counts as done")                        \
    X(local_flush_error_counts, "a flush that has failed here counts as done")                    \
    X(peer_flush_error_counts, "a flush that has failed on the peer counts as done")              \
    X(confirm_covers_late, "a flush covers writes that were over after it had begun")             \
    X(confirm_outlives_role, "what a Primary still had to flush is flushed after its demotion")   \
    X(unflushed_unmarked, "what the lost peer had not flushed is not marked out of sync")         \
    X(inherited_flush,                                                                            \
      "a new Primary flushes alone and does not record that the peer may not have")               \
    X(abort_frees, "a flush cut by the loss of the peer frees the extents that it was for")       \
    X(records_overwritten, "the transfer log takes more than it holds")                           \
    X(first_record_lost, "of what the lost peer had not flushed the oldest write is not marked")  \
    X(confirm_not_rearmed, "what no guest flushes is never flushed")                              \
    X(flush_window_leaks, "a flush does not give its place in the window of the peer back")       \
    /* loss.c */                                                                                  \
    X(no_new_generation, "going on alone makes no new generation")                                \
    X(generation_not_awaited, "a write completes alone before the new generation is on disk")     \
    X(loss_not_recorded, "writes in flight complete as if the peer had them when it is lost")     \
    X(peers_generation_is_ours, "going on alone under a generation that the peer knows")          \
    X(last_copy_dropped, "the last good copy is marked Inconsistent when its disk fails")         \
    X(last_copy_unasked, "the peer counts as a good copy before it has taken over")               \
    X(not_inherited, "a Primary forgets that it was Secondary when the peer left")                \
    X(unheard_takeover_one,                                                                       \
      "a Primary that keeps its disk does not descend from what its peer has taken over")         \
    X(failing_not_inherited,                                                                      \
      "a frozen node that is demoted forgets that its peer may not have flushed")                 \
    /* peer.c */                                                                                  \
    X(peer_acks_early, "the peer acknowledges a write before its disk has it")                    \
    X(peer_flush_faked, "the peer acknowledges a flush that it does not make")                    \
    X(peer_overlap, "the peer does not hold back a write that overlaps one under way")            \
    X(peer_fua_lost, "a forced write is an ordinary one on the disk of the peer")                 \
    X(any_epoch_taken, "the peer takes a write under another epoch")                              \
    X(anyone_writes, "the peer takes a write of a node that is not Primary")                      \
    X(later_epoch_taken, "the peer takes a write under a later epoch")                            \
    X(peer_read_overtakes, "a read through the peer does not wait for a write under way there")   \
    X(peer_error_unsaid, "the peer acknowledges what its disk has failed")                        \
    /* role.c */                                                                                  \
    X(new_uuid_without_disk, "a disk that failed while a new generation was asked for takes it")  \
    X(epoch_reused, "a promotion does not raise the epoch")                                       \
    X(primary_flag_forgotten, "nothing on disk says that the node is Primary")                    \
    X(promote_not_durable, "a node is Primary before its epoch is on disk")                       \
    X(promote_over_old,                                                                           \
      "a node is promoted while writes of the old Primary are on their way to its disk")          \
    X(grant_while_primary, "a Primary grants the role to its peer")                               \
    X(grant_not_durable, "the peer grants the role before the epoch is on its disk")              \
    X(demote_undrained, "a demotion does not wait for the requests under way")                    \
    X(demote_unflushed, "a demotion does not wait for the flush of both nodes")                   \
    X(demote_not_durable, "a demotion is over before Secondary is on disk")                       \
    X(discard_outlives, "connect --discard-my-data is good for every later divergence")           \
    X(refusal_unheard, "a node becomes Primary although its peer does not grant it")              \
    X(promote_in_handshake, "a promotion does not wait for the end of a handshake")               \
    X(demote_in_handshake, "nor does a demotion")                                                 \
    /* handover.c */                                                                              \
    X(handover_unconfirmed, "the role is handed over before both nodes have flushed")             \
    X(handover_unflushed,                                                                         \
      "the role is handed over before the guest was told that writes may be lost")                \
    X(handover_undrained, "the role is handed over while requests are under way")                 \
    X(handover_not_durable, "the role is handed over before Secondary is on disk")                \
    X(handover_keeps_role, "the giver of the role stays Primary")                                 \
    X(handover_keeps_epoch, "the giver of the role does not record the new epoch")                \
    X(handover_of_running, "the role is taken from a guest that runs")                            \
    X(handover_taken_alone, "the taker goes on alone when the link is lost in a handover")        \
    X(handover_back_unwritten, "a giver that keeps the role is Secondary on its disk")            \
    X(handover_back_epoch, "a giver that keeps the role writes under the epoch that nobody got")  \
    /* fence.c */                                                                                 \
    X(fence_not_awaited, "resource-and-stonith does not freeze until the peer is fenced")         \
    X(fence_failure_counts, "a fence-peer handler that has failed has fenced the peer")           \
    X(forced_through_fence, "a fence that has failed is no hindrance to a promotion")             \
    X(fence_dead_is_enough, "a peer assumed dead counts as fenced for any disk")                  \
    X(fence_outlives, "a peer that was fenced once counts as fenced for ever")                    \
    X(promoted_unfenced, "a node that is UpToDate is promoted before its peer is fenced")         \
    X(freeze_ignored, "on-peer-loss freeze goes on alone")                                        \
    X(fence_any_answer, "what fence-peer says to an earlier question is the answer to this one")  \
    X(fenced_once, "a peer that is lost before it counts again is not fenced again")              \
    /* invalidate.c */                                                                            \
    X(invalidate_not_durable, "invalidate is answered before it is on disk")                      \
    X(invalidate_unmarked, "invalidate marks no block")                                           \
    X(invalidate_any_time, "invalidate in a handshake that has just made the peer a target")      \
    X(invalidate_stays, "invalidate does not meet the peer anew")                                 \
    X(invalidate_remote_stays, "invalidate-remote does not meet the peer anew")                   \
    X(invalidate_of_primary, "a Primary gives its data up when its peer asks for it")             \
    X(outdate_not_durable, "outdate is answered before it is on disk")                            \
    /* handshake.c */                                                                             \
    X(no_hello_flush, "a session begins before what the older one left is durable")               \
    X(old_writes_outlive,                                                                         \
      "a session begins while writes of the older one are on their way to the disk")              \
    X(old_resync_outlives,                                                                        \
      "a session begins while pieces of an older resync are on their way to the disk")            \
    X(target_map_not_durable,                                                                     \
      "a target takes the generation of its source before its bitmap is on disk")                 \
    X(prepare_not_durable, "a target takes data before its disk says Inconsistent")               \
    X(full_sync_unmarked, "a full sync copies only what the bitmap names")                        \
    X(bits_not_sent, "no bitmap is exchanged before a resync")                                    \
    X(target_stays_consistent, "a target calls itself Consistent in mid-resync")                  \
    X(verify_map_not_awaited, "a verification is over before what it has marked is on disk")      \
    X(burst_skips, "between two bursts a block of the bitmap is left out")                        \
    /* lineage.c */                                                                               \
    X(equal_is_in_sync, "equal generations count as in sync whatever the bits say")               \
    X(split_guessed, "after a split brain the node whose name comes first wins")                  \
    X(bitmap_generation_lost, "a new generation does not remember which one the peer has")        \
    X(generation_not_adopted, "a target keeps its own generation")                                \
    X(later_epoch_ignored, "of one generation, who was promoted last does not count")             \
    X(outdated_ignored, "of one generation, that one is Outdated does not count")                 \
    X(equal_primary_ignored, "of one generation, who is Primary does not count")                  \
    X(crashed_ignored, "of one generation, that one crashed as Primary does not count")           \
    X(crashed_loses, "of one generation, the crashed Primary loses")                              \
    X(marked_loses, "of one generation, the one that has marked what may differ loses")           \
    X(history_by_bitmap,                                                                          \
      "a descendant that has no bitmap since then copies what its bitmap names")                  \
    X(new_by_bitmap, "a new disk gets what the bitmap names")                                     \
    X(inconsistent_by_bitmap, "and so does an Inconsistent one of an older generation")           \
    X(split_by_bitmap,                                                                            \
      "after a split brain without a common bitmap what the bitmaps name is copied")              \
    X(one_bitmap_ignored, "after a split brain no bitmap counts")                                 \
    X(synced_forgets, "the generation that a peer had before a resync is no ancestor")            \
    X(inconsistent_wins, "an Inconsistent disk may be the source")                                \
    /* split.c, verdict.c */                                                                      \
    X(split_least_is_most, "discard-least-changes discards the most")                             \
    X(split_younger_is_older, "discard-younger-primary discards the older one's data")            \
    X(split_both_changed, "discard-zero-changes discards data that were changed")                 \
    X(split_secondary_stays, "discard-secondary names the Primary")                               \
    X(split_unagreed, "an after-sb policy counts although the peer has another")                  \
    X(split_untold, "the after-sb policies are not told to the peer")                             \
    X(primary_overwritten, "a Primary becomes a target while its guest uses its data")            \
    X(pri_lost_by_chance, "pri-lost-after-sb is run on a Primary that has won")                   \
    X(epoch_not_raised, "a Primary whose peer has a later epoch takes that one")                  \
    X(lower_epoch, "of two epochs of Secondaries the lower one counts")                           \
    X(both_discard, "who is to discard does, though its peer is too")                             \
    /* resync.c */                                                                                \
    X(resync_reads_past, "the source reads for the resync while a guest writes the same blocks")  \
    X(resync_lands_late, "resync data may land over a newer write of the guest")                  \
    X(source_clears_early, "the source clears a bit when it sends the block")                     \
    X(sync_flush_covers_late, "the flush of a target covers what was written after it had begun") \
    X(sync_super_not_awaited, "a target is UpToDate before its disk says so")                     \
    X(uptodate_in_flight, "a session begins while the end of an older resync is being written")   \
    X(resync_one_round, "a resync is over after one round, whatever that has left out")           \
    X(old_unflushed_counts, "what an older resync has not flushed is flushed in this one")        \
    /* pause.c, session.c */                                                                      \
    X(pause_ignored, "a target asks although the resync is paused")                               \
    X(pause_untold, "a new session does not tell that the resync is paused")                      \
    X(resume_unheard, "that the peer lets the resync go on is not heard")                         \
    /* session.c, detach.c */                                                                     \
    X(half_open_kept, "a new stream takes the place of an older one, and no loss is noted")       \
    X(window_overrun, "more is sent to the peer than it has room for")                            \
    X(detach_early, "detach is answered while I/O is under way")                                  \
    X(detach_flags_stay, "a Primary's disk that was let go of still calls itself good")           \
    X(dial_not_rearmed, "a dial that has failed is not tried again")                              \
    /* csums.c */                                                                                 \
    X(same_unchecked, "the source calls every block equal that comes with a checksum")            \
    /* pace.c */                                                                                  \
    X(pace_ignored, "a resync asks as fast as it can, whatever its rates say")                    \
    X(guest_unseen, "a resync does not give way to the guest of its own node")                    \
    X(guest_untold, "an answer does not tell that the guest of its node is busy")                 \
    /* persist.c */                                                                               \
    X(newest_overwritten, "a superblock is written over the newest one")                          \
    X(super_ticket_early, "a superblock that is being written passes for the next one")           \
    X(pass_done_early, "a pass over the bitmap is done while blocks are being written")           \
    X(sequence_stuck, "superblocks are not numbered")                                             \
    X(map_ticket_early, "a pass over the bitmap that is under way passes for the next one")       \
    X(run_skips, "after each run of dirty blocks one is left out")                                \
    /* attach.c */                                                                                \
    X(crash_unnoticed, "the activity log of a crashed Primary is not looked at")                  \
    X(attach_map_not_awaited,                                                                     \
      "a crashed Primary forgets that it was one before its bits are on disk")                    \
    X(half_extent_marked, "of an extent in the activity log only the first half is marked")       \
    X(bitmap_not_read, "the bitmap on disk is not read at attach")                                \
    X(attach_epoch_lost,                                                                          \
      "an attach takes the epoch of the disk, though the node knows a later one")                 \
    X(inconsistent_attached, "a disk that was left Inconsistent attaches as UpToDate")            \
    X(attach_undrained, "a Primary's disk comes back while requests are with the peer alone")     \
    X(old_log_stays, "the old disk's extents count as hot on the new one")                        \
    X(attach_over_old, "a disk that hangs is attached before it has answered all")                \
    X(attach_super_not_awaited, "a Primary's disk takes data before it says Inconsistent")        \
    X(attach_unconfirmed,                                                                         \
      "a Primary's disk comes back before the peer has flushed what it got alone")                \
    X(outdated_attached, "a disk that was Outdated attaches as UpToDate")                         \
    X(last_map_block_unread, "the last block of the bitmap is not read at attach")                \
    /* actlog.c */                                                                                \
    X(evicts_unconfirmed, "an extent leaves the activity log before both nodes have flushed it")  \
    X(pending_is_hot, "a second write of a cold extent does not wait for the activity log")       \
    X(confirm_frees_late, "the end of a confirm frees what was put after it had begun")           \
    /* actlog_ring.c */                                                                           \
    X(hot_before_written, "an extent is hot when its transaction is submitted")                   \
    X(log_in_one_place, "activity-log transactions all go to the same block")                     \
    X(window_stuck, "each transaction has the same window of the table")                          \
    /* bitmap.c */                                                                                \
    X(bits_not_dirty, "a bit that is set does not mark its block for writing")                    \
    X(last_block_unmarked, "the last block that a write touches in part is not marked")           \
    X(first_block_dirty, "a bit marks the first block for writing, whichever it is in")           \
    X(clears_next_block, "with a range the block after it is cleared")                            \
    X(border_not_dirty, "the first bit of a bitmap block marks the one before it for writing")    \
    /* liveness.c */                                                                              \
    X(dead_peer_waited_for, "a peer that answers no ping is waited for")                          \
    X(disk_hang_waited_for, "a disk that hangs is waited for")                                    \
    X(ko_ignored, "a peer that pings and answers nothing is waited for")                          \
    /* grow.c */                                                                                  \
    X(grow_not_held, "metadata are written to the old place while they are copied to the new")    \
    X(grow_unmarked, "the new area of a resized disk counts as in sync")                          \
    X(grow_ring_lost, "the activity log is not copied to its new place")                          \
    X(grow_map_lost, "the bitmap is not written to its new place")                                \
    X(grow_not_durable, "the new size counts before its superblock is on disk")                   \
    X(stale_forgotten, "old metadata that stay behind the data are forgotten")                    \
    /* verify.c */                                                                                \
    X(verify_role_moved, "a comparison is believed though the role has moved meanwhile")          \
    X(verify_unheld, "a Primary does not hold its guest's writes while it compares")              \
    /* resize.c */                                                                                \
    X(size_before_follower, "a new size counts before the follower has it on disk")               \
    X(stale_is_clean, "--assume-clean leaves the places of the old metadata as they are")         \
    X(resize_forgotten, "a leader whose disk fails takes no answer of its follower any more")     \
    X(follower_uptodate, "a follower calls itself UpToDate before it has the new area")           \
    /* handshake.c, resize.c */                                                                   \
    X(sizes_may_differ, "nodes of different size connect")                                        \
    /* state.c */                                                                                 \
    X(promote_unfit, "a disk that is not UpToDate is promoted without force")                     \
    /* metadata.c */                                                                              \
    X(older_superblock, "the older of two superblocks is chosen")

enum core_mutant {
    CORE_MUTANT_NONE,
#define CORE_MUTANT_ENUM(name, what) CORE_MUTANT_##name,
    CORE_MUTANT_LIST(CORE_MUTANT_ENUM)
#undef CORE_MUTANT_ENUM
        CORE_MUTANT_COUNT
};

extern enum core_mutant core_mutant; /* the one that is switched on; the simulator's */

#define MUTANT(name) (core_mutant == CORE_MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
