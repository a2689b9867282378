// Images that are directories, secrets and files, and the two profiles, with the real launcher.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "tests/integration/launcher/launcher_rig.h"
#include "tests/integration/launcher/test_image.h"

namespace millrace::launcher {
namespace {

class ImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    MILLRACE_NEEDS_BUSYBOX();
    image_.emplace();
    rig_.emplace(LauncherRig::usual(), std::vector<std::string>{"--images=" + image_->place()});
  }

  // Without root there is no other.
  static Profile widest() { return LauncherRig::usual() == LauncherRig::As::user ? Profile::strict : Profile::compat; }

  void prepare(std::uint32_t id, Image kind, Profile profile = Profile::strict,
               const std::vector<ProvidedFile>& provided = {}, const std::string& script = {}) {
    const Fd directory = image_->open();
    rig_->prepare({.template_id = id, .profile = profile, .image = kind}, kind == Image::host ? -1 : directory.get(),
                  provided, script);
  }
  std::string shell(std::uint32_t id, const std::string& script, const Limits& limits = {}) {
    const auto result = rig_->run({.template_id = id, .argv = {"/bin/sh", "-c", script}, .limits = limits});
    EXPECT_TRUE(result.started) << name_of(result.failed.step) << " " << result.failed.error;
    return result.output + result.errors;
  }
  PrepareFailed refused(Image kind = Image::directory) {
    const Fd directory = image_->open();
    return rig_->refuse_to_prepare({.template_id = next_refused_++, .image = kind}, directory.get());
  }

  std::uint32_t next_refused_ = 1000;
  std::optional<TestImage> image_;
  std::optional<LauncherRig> rig_;
};

TEST_F(ImageTest, ShowsTheDirectoryReadOnlyWithItsOwners) {
  prepare(1, Image::directory, Profile::strict, {}, "#!/bin/sh\necho script ran\n");
  EXPECT_EQ(shell(1, "ls -A / | sed s/^//"), "bin\ndata\ndev\netc\noscar\nproc\nroot\nrun\nsys\ntmp\n");
  EXPECT_EQ(shell(1, "id -u; id -g; stat -c '%u %g %a' / /etc /etc/passwd /root"),
            "0\n0\n0 0 755\n0 0 755\n0 0 644\n0 0 700\n");
  EXPECT_EQ(shell(1, "cat /etc/secret-of-root"), "only for root\n");
  EXPECT_EQ(
      shell(1, "touch /data/x 2>&1; touch /x 2>&1; touch /oscar/x 2>&1; touch /bin/x 2>&1; touch /tmp/x && echo ok"),
      "touch: /data/x: Read-only file system\ntouch: /x: Read-only file system\n"
      "touch: /oscar/x: Read-only file system\ntouch: /bin/x: Read-only file system\nok\n");
  EXPECT_EQ(shell(1, "/oscar/config/script.sh; stat -c %a /oscar/config/script.sh"), "script ran\n555\n");
  EXPECT_EQ(shell(1, "ls -A /dev"), "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n");
  EXPECT_EQ(shell(1, "ls -A /sys /run/secrets; cat /etc/hosts | grep -c localhost"), "/run/secrets:\n\n/sys:\n2\n");
}

TEST_F(ImageTest, CopyOnWriteTakesChangesAndForgetsThem) {
  prepare(1, Image::directory_copy, Profile::strict, {{.path = "key", .content = "k", .secret = true}},
          "#!/bin/sh\necho script ran\n");
  EXPECT_EQ(
      shell(1, "echo new >/data/new; echo more >>/etc/passwd; rm /bin/wc; mkdir /opt; cat /data/new; ls /opt /bin/wc"),
      "new\n/opt:\nls: /bin/wc: No such file or directory\n");
  // The next run of the same function finds the image as it was, and so does the host.
  EXPECT_EQ(shell(1, "ls /data; grep -c more /etc/passwd; ls /bin/wc; ls /opt"),
            "0\n/bin/wc\nls: /opt: No such file or directory\n");
  EXPECT_FALSE(std::filesystem::exists(image_->path() + "/data/new"));
  EXPECT_EQ(shell(1, "/oscar/config/script.sh; cat /run/secrets/key; echo; ls -A /dev | wc -l"), "script ran\nk\n11\n");
  EXPECT_EQ(shell(1, "touch /run/secrets/x 2>&1"), "touch: /run/secrets/x: Read-only file system\n");
}

TEST_F(ImageTest, CopyOnWriteIsBounded) {
  prepare(1, Image::directory_copy);
  const Limits limits{.scratch_bytes = 1 << 20, .scratch_inodes = 64};
  EXPECT_EQ(shell(1, "dd if=/dev/zero of=/data/big bs=65536 count=64 2>&1 | grep -c 'No space'", limits), "1\n");
  EXPECT_EQ(shell(1,
                  "i=0; while touch /data/$i 2>/dev/null && [ $i -lt 200 ]; do i=$((i+1)); done; [ $i -lt 100 ] && "
                  "echo bounded",
                  limits),
            "bounded\n");
}

TEST_F(ImageTest, MountinfoShowsNoHostPath) {
  for (const Image kind : {Image::directory, Image::directory_copy}) {
    const auto id = static_cast<std::uint32_t>(kind);
    prepare(id, kind);
    const std::string mounts = shell(id, "cat /proc/self/mountinfo");
    EXPECT_EQ(mounts.find(image_->place()), std::string::npos) << mounts;
    EXPECT_EQ(mounts.find("millrace"), std::string::npos) << mounts;
    EXPECT_EQ(mounts.find("shared:"), std::string::npos) << mounts;
    EXPECT_EQ(mounts.find("master:"), std::string::npos) << mounts;
  }
}

TEST_F(ImageTest, LinksInPlaceOfOurDirectoriesAreRefusedAndNeverFollowed) {
  for (const char* name : {"proc", "dev", "sys", "tmp", "etc", "run", "oscar"}) {
    const TestDirectory bait("/var/tmp");
    image_->link(name, bait.path());
    for (const Image kind : {Image::directory, Image::directory_copy}) {
      const auto failed = refused(kind);
      EXPECT_EQ(failed.step, Step::image) << name;
      EXPECT_EQ(failed.error, ELOOP) << name << failed.text;
      EXPECT_NE(failed.text.find(std::string("/") + name), std::string::npos) << failed.text;
    }
    EXPECT_TRUE(std::filesystem::is_empty(bait.path())) << name;
    std::filesystem::remove(image_->path() + "/" + name);
  }
  // Without any of these directories an image is fine.
  prepare(1, Image::directory);
  EXPECT_EQ(shell(1, "echo fine"), "fine\n");
}

// The race that container runtimes lost: a link put in the place of a directory between look and use.
TEST_F(ImageTest, LinksExchangedWhileTemplatesAreBuiltAreNeverFollowed) {
  const TestDirectory bait("/var/tmp");
  const std::string tmp = image_->path() + "/tmp";
  const std::string other = image_->path() + "/other";
  std::filesystem::create_symlink(bait.path(), other);
  std::atomic<bool> stop = false;
  std::thread exchanger([&] {
    while (!stop) ::renameat2(AT_FDCWD, tmp.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE);
  });
  int built = 0;
  const Fd directory = image_->open();
  for (std::uint32_t id = 2000; id < 2100; ++id) {
    const auto kind = id % 2 == 0 ? Image::directory : Image::directory_copy;
    rig_->send(Prepare{.template_id = id, .image = kind}, {directory.get()});
    if (!rig_->await_built(id)) continue;
    ++built;
    EXPECT_EQ(shell(id, "touch /tmp/x /dev/shm/x && echo ok"), "ok\n");
    rig_->send(Drop{.template_id = id});
  }
  stop = true;
  exchanger.join();
  EXPECT_TRUE(std::filesystem::is_empty(bait.path()));
  EXPECT_GT(built, 0);
}

TEST_F(ImageTest, ManyRunsLeaveNothingBehind) {
  prepare(1, Image::directory_copy, widest(), {{.path = "key", .content = "k", .secret = true}});
  const std::string pid = std::to_string(rig_->pid());
  const auto of_template = std::stoi(read_text("/proc/" + pid + "/task/" + pid + "/children"));
  const auto mounts_of = [](pid_t process) {
    const std::string text = read_text("/proc/" + std::to_string(process) + "/mountinfo");
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  };
  const auto run = [this] { EXPECT_EQ(shell(1, "echo x >/data/x; cat /run/secrets/key"), "k"); };
  // The sandbox that waits for the next run counts, and is made when this one is done.
  const auto rests = [of_template] { return direct_children(of_template).size() == 1; };
  for (int i = 0; i < 20; ++i) run();
  ASSERT_TRUE(comes_true(rests));
  const auto mounts = mounts_of(of_template);
  const auto mounts_of_host = count_mounts();
  const auto descriptors = count_descriptors(of_template);
  const auto descriptors_of_launcher = count_descriptors(rig_->pid());
  for (int i = 0; i < 300; ++i) run();
  ASSERT_TRUE(comes_true(rests));
  EXPECT_EQ(mounts_of(of_template), mounts);
  EXPECT_EQ(count_mounts(), mounts_of_host);
  // Its pool of networks breathes, and the launcher's of control groups by a dozen or two; 300 runs that leave one each
  // would show.
  EXPECT_LT(count_descriptors(of_template), descriptors + 20);
  EXPECT_LT(count_descriptors(rig_->pid()), descriptors_of_launcher + 100);
}

TEST_F(ImageTest, AFileInPlaceOfADirectoryIsRefused) {
  std::filesystem::remove_all(image_->path() + "/tmp");
  image_->write("tmp", "no directory");
  EXPECT_EQ(refused().error, ENOTDIR);
}

TEST_F(ImageTest, OnlyImagesBeneathAListedDirectoryAreTaken) {
  for (const char* path : {"/", "/etc", "/usr"}) {
    const Fd directory(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const auto failed =
        rig_->refuse_to_prepare({.template_id = next_refused_++, .image = Image::directory}, directory.get());
    EXPECT_EQ(failed.step, Step::image);
    EXPECT_EQ(failed.error, EACCES);
    EXPECT_NE(failed.text.find("image_directories"), std::string::npos) << failed.text;
  }
  const Fd place(::open(image_->place().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(rig_->refuse_to_prepare({.template_id = 98, .image = Image::directory}, place.get()).error, EACCES);
  // A descriptor that proves nothing, and what is no directory.
  const Fd path(::open(image_->path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(rig_->refuse_to_prepare({.template_id = 97, .image = Image::directory}, path.get()).step, Step::image);
  const Fd file(::open((image_->path() + "/etc/passwd").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(rig_->refuse_to_prepare({.template_id = 96, .image = Image::directory}, file.get()).step, Step::image);
}

TEST_F(ImageTest, AnImageWithoutAShellFailsWithTheStep) {
  std::filesystem::remove_all(image_->path() + "/bin");
  prepare(1, Image::directory);
  const auto result = rig_->run({.argv = {"/bin/sh", "-c", "true"}});
  EXPECT_EQ(result.failed.step, Step::exec);
  EXPECT_EQ(result.failed.error, ENOENT);
}

TEST_F(ImageTest, AWorkingDirectoryThatTheImageLacksFailsWithTheStep) {
  prepare(1, Image::directory);
  const auto result = rig_->run({.argv = {"/bin/sh", "-c", "true"}, .working_directory = "/no/such/place"});
  EXPECT_EQ(result.failed.step, Step::working_directory);
  EXPECT_EQ(result.failed.error, ENOENT);
}

TEST_F(ImageTest, ATemplateThatWasKilledIsBuiltAnew) {
  prepare(1, Image::directory, Profile::strict, {{.path = "key", .content = "k", .secret = true}});
  const auto run = rig_->start({.argv = {"/bin/sh", "-c", "exec sleep 1000"}});
  rig_->await<Started>();
  const std::string pid = std::to_string(rig_->pid());
  ASSERT_EQ(::kill(std::stoi(read_text("/proc/" + pid + "/task/" + pid + "/children")), SIGKILL), 0);
  EXPECT_EQ(rig_->finish(run).exited.how, Ending::lost);
  EXPECT_EQ(shell(1, "cat /run/secrets/key"), "k");
}

// ---- secrets and files

TEST_F(ImageTest, SecretsAreFilesOfTheRunsUserOnly) {
  const std::string binary("a\0b\xff", 4);
  const std::vector<ProvidedFile> provided{{.path = "token", .content = "hunter2", .secret = true},
                                           {.path = "binary.key", .content = binary, .secret = true},
                                           {.path = "empty", .content = "", .secret = true}};
  const std::vector<std::pair<Image, Profile>> kinds{{Image::host, Profile::strict},
                                                     {Image::host, widest()},
                                                     {Image::directory, Profile::strict},
                                                     {Image::directory_copy, widest()}};
  std::uint32_t id = 0;
  for (const auto& [image, profile] : kinds) {
    prepare(++id, image, profile, provided);
    EXPECT_EQ(shell(id, "cat /run/secrets/token; cat /run/secrets/binary.key"), "hunter2" + binary);
    const std::string owner = image == Image::host && profile == Profile::strict ? "65533" : "0";
    EXPECT_EQ(shell(id, "stat -c '%u %a %s' /run/secrets/token /run/secrets/empty"),
              owner + " 400 7\n" + owner + " 400 0\n");
    EXPECT_EQ(shell(id,
                    "grep -c /run/secrets /proc/self/mountinfo; grep /run/secrets /proc/self/mountinfo | grep -c ' "
                    "ro,nosuid,nodev,noexec'"),
              "1\n1\n");
    EXPECT_EQ(shell(id, "cat /proc/*/environ /proc/*/cmdline | grep -c hunter[2]"), "0\n");
  }
  // Another function sees none of them.
  prepare(++id, Image::directory);
  EXPECT_EQ(shell(id, "ls -A /run/secrets"), "");
}

TEST_F(ImageTest, FilesAppearAtTheirPaths) {
  const std::vector<ProvidedFile> provided{{.path = "/etc/app/config.yaml", .content = "a: 1\n"},
                                           {.path = "/data/model.txt", .content = "labels\n"},
                                           {.path = "/opt/new/deep/file", .content = "deep\n"}};
  std::uint32_t id = 0;
  for (const Image image : {Image::host, Image::directory, Image::directory_copy}) {
    prepare(++id, image, Profile::strict, provided);
    EXPECT_EQ(shell(id,
                    "cat /etc/app/config.yaml /data/model.txt /opt/new/deep/file; stat -c %a /data/model.txt; head -c "
                    "0 /etc/passwd 2>/dev/null; grep -c root: /etc/passwd"),
              "a: 1\nlabels\ndeep\n444\n1\n")
        << id;
  }
}

TEST_F(ImageTest, AFileWhosePathIsALinkOfTheImageIsRefused) {
  std::filesystem::create_directory_symlink("/etc", image_->path() + "/settings");
  const Fd directory = image_->open();
  const auto failed = rig_->refuse_to_prepare({.template_id = 9, .image = Image::directory}, directory.get(),
                                              {{.path = "/settings/x", .content = "x"}});
  EXPECT_EQ(failed.error, ELOOP);
  EXPECT_FALSE(std::filesystem::exists("/etc/x"));
  // On the host itself /bin or /lib is one, on most.
  if (std::filesystem::is_symlink("/bin")) {
    const auto on_host = rig_->refuse_to_prepare({.template_id = 10}, -1, {{.path = "/bin/x", .content = "x"}});
    EXPECT_EQ(on_host.step, Step::provided);
    EXPECT_EQ(on_host.error, ELOOP);
    EXPECT_FALSE(std::filesystem::exists("/bin/x"));
  }
}

TEST_F(ImageTest, AFileInPlaceOfADirectoryIsNotPlaced) {
  std::filesystem::create_directory_symlink("data", image_->path() + "/link-to-data");
  const Fd directory = image_->open();
  const auto wrong = [&](Image kind, const std::string& path) {
    return rig_->refuse_to_prepare({.template_id = next_refused_++, .image = kind},
                                   kind == Image::host ? -1 : directory.get(), {{.path = path, .content = "x"}});
  };
  for (const auto& [kind, path] :
       {std::pair(Image::host, "/etc"), std::pair(Image::host, "/usr"), std::pair(Image::host, "/usr/bin"),
        std::pair(Image::host, "/bin"), std::pair(Image::host, "/run"), std::pair(Image::directory, "/bin"),
        std::pair(Image::directory, "/run"), std::pair(Image::directory, "/link-to-data"),
        std::pair(Image::directory_copy, "/data")}) {
    const auto failed = wrong(kind, path);
    EXPECT_EQ(failed.step, Step::provided) << path;
    EXPECT_EQ(failed.error, EISDIR) << path;
    EXPECT_EQ(failed.text, "place the file " + std::string(path) + ": Is a directory");
  }
  const auto below_file = wrong(Image::host, "/etc/passwd/x");
  EXPECT_EQ(below_file.error, ENOTDIR);
  EXPECT_EQ(below_file.text, "place the file /etc/passwd/x, at /etc/passwd: Not a directory");
  const auto below_file_of_image = wrong(Image::directory, "/etc/passwd/x");
  EXPECT_EQ(below_file_of_image.step, Step::provided);
  EXPECT_EQ(below_file_of_image.text, "place the file /etc/passwd/x, at /etc/passwd: Not a directory");
}

TEST_F(ImageTest, APackedTextThatIsNotOursEndsTheTemplateWithAReason) {
  const auto garbage = sealed_memfd(std::string("\7garbage"));
  ASSERT_TRUE(garbage);
  rig_->send(Prepare{.template_id = 5, .provided = true}, {garbage->get()});
  const auto failed = rig_->await<PrepareFailed>();
  EXPECT_EQ(failed.step, Step::provided);
  EXPECT_EQ(failed.error, EINVAL);
}

// ---- profiles

TEST_F(ImageTest, CompatMayChangeOwnersAndUsersInsideAndStrictMayNot) {
  MILLRACE_NEEDS_ROOTS_LAUNCHER("no profile compat");
  const std::string look =
      "grep CapEff /proc/self/status | cut -f2; touch /data/x; chown 1000:1000 /data/x 2>&1; "
      "stat -c %u /data/x; su guest -c 'id -u' 2>&1 | grep -c 1000";
  prepare(1, Image::directory_copy, Profile::strict);
  prepare(2, Image::directory_copy, Profile::compat);
  EXPECT_EQ(shell(1, look), "0000000000000000\nchown: /data/x: Operation not permitted\n0\n0\n");
  EXPECT_EQ(shell(2, look), "00000000000004fb\n1000\n1\n");
  // It writes what only root of the image may, and nobody else's.
  EXPECT_EQ(shell(2, "echo x >/etc/secret-of-root && echo ok; stat -c %u /dev/null; chown 5 /dev/null 2>&1"),
            "ok\n65534\nchown: /dev/null: Read-only file system\n");
}

TEST_F(ImageTest, NobodyBecomesTheUserOfAllTemplates) {
  MILLRACE_NEEDS_ROOTS_LAUNCHER("no profile compat");
  prepare(1, Image::directory, Profile::compat);
  image_->write("etc/passwd", "root:x:0:0::/:/bin/sh\nshared:x:65535:1::/:/bin/sh\nother:x:65534:1::/:/bin/sh\n");
  EXPECT_EQ(shell(1, "su other -c 'id -u'; su shared -c 'id -u' 2>&1"), "65534\nsu: setuid: Operation not permitted\n");
}

TEST_F(ImageTest, TheRootOfANamespaceCannotChangeItsSettings) {
  prepare(1, Image::directory, widest());
  prepare(2, widest() == Profile::compat ? Image::host : Image::directory_copy, widest());
  for (const std::uint32_t id : {1U, 2U}) {
    EXPECT_EQ(shell(id,
                    "cat /proc/sys/net/ipv4/ip_forward >/dev/null && echo readable; "
                    "(echo 1 >/proc/sys/net/ipv4/ip_forward) 2>&1 | grep -c 'Read-only'; "
                    "(echo x >/proc/sys/kernel/core_pattern) 2>&1 | grep -c 'Read-only'"),
              "readable\n1\n1\n");
  }
}

}  // namespace
}  // namespace millrace::launcher
