// Placing: how a result comes to stand under a user's name, without a lock, so that the latest run's file stands
// however many placers race, pause and die. docs/adr/0006-placing-outputs.md tells why. Where the file system cannot
// exchange names (NFS, FUSE), placers take turns by a lock, and one that pauses for longer than others wait may put an
// older file back.
//
// Threads: any; everything blocks.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/error.h"
#include "storage/fs/workspace.h"
#include "storage/output_store.h"

namespace millrace::fs {

// The file to be placed: `name`, one part, in the directory `folder` (-1: gone, which is no error if the file stands
// under its name already). `device` and `inode` say which file it was when it was sealed.
struct PlacingSource {
  int folder = -1;
  std::string name;
  dev_t device = 0;
  ino_t inode = 0;
  std::string original = {};  // the file that it is a copy of, below `folder`; empty: it is no copy
};

// Makes the source appear as `key` below `bucket`. The caller syncs, also when nothing was done (whoever did it may
// have died before that), and then may remove a copy. Idempotent: a copy that is gone has been placed.
[[nodiscard]] Result<Placed> place_file(Workspace& workspace, int bucket, const PlacingSource& source,
                                        const std::string& key, const OutputRank& rank);

// Ends what a dead placer began: if the file `temporary` in `tmp` was taken from `key` by an earlier run's file, it
// goes back. The caller removes `temporary` afterwards.
[[nodiscard]] Result<void> settle_placing(int tmp, const std::string& temporary, int bucket, const std::string& key);

// True if the file system of `workspace` cannot exchange two names in one step: a placer that pauses may then put an
// older file over a later one. Found out by trying.
[[nodiscard]] Result<bool> is_weak_placing(Workspace& workspace);

}  // namespace millrace::fs
