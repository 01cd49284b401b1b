/* test_layout.c - how data sets are recognised: every layout of data_tools/layout.h on small trees of empty files, labels
   that are not certain refused with the flag that decides, .npy scalars of every type, csv quoting, damaged lists, and
   memory that runs out at the 1st, 2nd, ... call. `test_layout ROUNDS` damages more lists. */
#include "../data_tools/tool.h"
#define ZENNET_IMPLEMENTATION
#include "zennet.h"

/* The layouts' own allocations, counted; call number fail_at fails. */
static long calls, fail_at, outstanding;
static void *counted_malloc(size_t size) {
    void *memory = ++calls == fail_at ? NULL : malloc(size);
    if (memory != NULL) ++outstanding;
    return memory;
}
static void *counted_realloc(void *old, size_t size) {
    void *memory = ++calls == fail_at ? NULL : realloc(old, size);
    if (memory != NULL && old == NULL) ++outstanding;
    return memory;
}
static void *counted_calloc(size_t count, size_t size) {
    void *memory = ++calls == fail_at ? NULL : calloc(count, size);
    if (memory != NULL) ++outstanding;
    return memory;
}
static void counted_free(void *memory) {
    if (memory != NULL) --outstanding;
    free(memory);
}
#define malloc counted_malloc
#define realloc counted_realloc
#define calloc counted_calloc
#define free counted_free
#include "../data_tools/layout.h"
#undef malloc
#undef realloc
#undef calloc
#undef free

#include "check.h"

static char top[512]; /* the folder that the trees are made in */

static void remove_tree(const char *path) {
    char inner[2048];
    struct dirent *entry;
    DIR *folder = lay_kind_of(path) == 2 ? opendir(path) : NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%.1700s/%.300s", path, entry->d_name);
        remove_tree(inner);
    }
    if (folder != NULL) closedir(folder);
    remove(path);
}

/* Makes top/name with its folders; the text may be NULL for an empty file. */
static void put_bytes(const char *name, const void *bytes, size_t size) {
    char path[1024];
    size_t i;
    FILE *file;
    snprintf(path, sizeof path, "%s/%s", top, name);
    for (i = strlen(top); path[i] != '\0'; ++i)
        if (path[i] == '/') {
            path[i] = '\0';
            mkdir(path, 0777);
            path[i] = '/';
        }
    file = fopen(path, "wb");
    CHECK_FOR(file != NULL, name);
    if (file == NULL) return;
    if (size > 0) fwrite(bytes, 1, size, file);
    fclose(file);
}
static void put(const char *name, const char *text) { put_bytes(name, text, text != NULL ? strlen(text) : 0); }
/* count images named 0.jpg... in a folder */
static void put_images(const char *folder, int count) {
    char name[600];
    while (count-- > 0) {
        snprintf(name, sizeof name, "%s/%d.jpg", folder, count);
        put(name, NULL);
    }
}
static void remove_below(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", top, name);
    remove_tree(path);
}
static void put_npy(const char *name, const char *type, const char *shape, const void *data, size_t size, int version) {
    unsigned char bytes[512];
    size_t head = version == 1 ? 10 : 12, length;
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)version;
    bytes[7] = 0;
    length = (size_t)snprintf((char *)bytes + head, sizeof bytes - head, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape);
    bytes[head + length] = '\n';
    ++length;
    memset(bytes + 8, 0, head - 8);
    bytes[8] = (unsigned char)length;
    memcpy(bytes + head + length, data, size);
    put_bytes(name, bytes, head + length + size);
}

static lay_opts options(const char *layout) {
    lay_opts o = lay_opts_default();
    o.layout = layout;
    return o;
}
static int scan(lay_set *s, const char *name, const lay_opts *o) {
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", top, name);
    return lay_scan(s, path, o);
}
/* Recognised, with this many samples; names is "A B C". */
static void expect(const char *name, const lay_opts *o, lay_kind kind, size_t train, size_t test, const char *names) {
    lay_set s;
    char got[512] = "";
    size_t i, tests = 0;
    int bad = scan(&s, name, o);
    if (bad) printf("%s: %s\n", name, s.error);
    CHECK_FOR(!bad, name);
    for (i = 0; i < s.count; ++i) tests += s.samples[i].split == ZN_SPLIT_TEST;
    for (i = 0; i < s.names.count; ++i) snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i > 0 ? " " : "", s.names.items[i]);
    CHECK_FOR(s.kind == kind, name);
    CHECK_FOR(tests == test && s.count - tests == train, name);
    if (strcmp(got, names) != 0) printf("%s: classes '%s'\n", name, got);
    CHECK_FOR(strcmp(got, names) == 0, name);
    lay_free(&s);
}
static void refuse(const char *name, const lay_opts *o, const char *why) {
    lay_set s;
    CHECK_FOR(scan(&s, name, o) != 0, why);
    CHECK_HOLDS(s.error, why);
    lay_free(&s);
}

/* Read, and one of the notes holds the text. */
static void expect_note(const char *name, const lay_opts *o, const char *text) {
    lay_set s;
    size_t i;
    CHECK_FOR(scan(&s, name, o) == 0, name);
    for (i = 0; i < s.notes.count && strstr(s.notes.items[i], text) == NULL; ++i) {}
    CHECK_FOR(i < s.notes.count, text);
    lay_free(&s);
}

#define RAF "Surprise Fear Disgust Happiness Sadness Anger Neutral"
#define AFFECT7 "Neutral Happiness Sadness Surprise Fear Disgust Anger"
#define AFFECT8 AFFECT7 " Contempt"

static void put_split_folders(const char *base, const char *test, const char *const *names, int count) {
    char path[300];
    int i;
    for (i = 0; i < count; ++i) {
        snprintf(path, sizeof path, "%s/train/%s", base, names[i]);
        put_images(path, 2);
        snprintf(path, sizeof path, "%s/%s/%s", base, test, names[i]);
        put_images(path, 1);
    }
}
static const char *const digits[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static void test_folders(void) {
    static const char *const two[] = {"00", "01", "02", "03", "04", "05", "06"}, *const moods[] = {"happy", "sad", "Angry"}, *const pets[] = {"cat", "dog", "with blank"};
    lay_opts o = options("auto"), raf = options("raf"), affect = options("affectnet"), plain = options("folders");
    put_split_folders("f17", "test", digits + 1, 7);
    put("f17/train/1/Thumbs.db", "");
    put("f17/train/1/.hidden.jpg", "");
    put("f17/train/1/notes.txt", "");
    put("f17/__MACOSX/x.jpg", "");
    expect("f17", &o, LAY_FOLDERS, 14, 7, RAF);
    expect("f17/", &raf, LAY_FOLDERS, 14, 7, RAF);
    expect("f17", &plain, LAY_FOLDERS, 14, 7, "1 2 3 4 5 6 7");
    refuse("f17", &affect, "not those of --layout affectnet");
    refuse("f17/train", &o, "--layout folders");
    put_split_folders("f06", "valid", digits, 7);
    refuse("f06", &o, "--labels affectnet");
    expect("f06", &raf, LAY_FOLDERS, 14, 7, AFFECT7);
    expect("f06", &affect, LAY_FOLDERS, 14, 7, AFFECT7);
    o.labels = "raf";
    refuse("f06", &o, "label 0: the labels are 1 to 7");
    o.base = 0;
    expect("f06", &o, LAY_FOLDERS, 14, 7, RAF);
    o = options("auto");
    put_split_folders("f0006", "val", two, 7);
    refuse("f0006", &o, "--labels 00=Neutral");
    o.labels = "00=Neutral,01=Happiness,02=Sadness,03=Surprise,04=Fear,05=Anger,06=Disgust";
    expect("f0006", &o, LAY_FOLDERS, 14, 7, "Neutral Happiness Sadness Surprise Fear Anger Disgust");
    o.labels = "a,b,c";
    refuse("f0006", &o, "--labels has 3 names for 7 labels");
    o.labels = "00=a,b";
    refuse("f0006", &o, "has no KEY=");
    o.labels = "nonsense";
    refuse("f0006", &o, "neither raf, affectnet");
    o = options("auto");
    put_split_folders("f07/inner", "val", digits, 8);
    expect("f07", &o, LAY_FOLDERS, 16, 8, AFFECT8);
    o.classes = 7;
    expect("f07", &o, LAY_FOLDERS, 14, 7, AFFECT7);
    o.classes = 5;
    refuse("f07", &o, "8 classes here, not 5");
    o = options("auto");
    put_split_folders("moods", "test", moods, 3);
    expect("moods", &o, LAY_FOLDERS, 6, 3, "Anger Happiness Sadness");
    expect("moods", &plain, LAY_FOLDERS, 6, 3, "Angry happy sad");
    put_split_folders("pets", "Validation", pets, 3);
    expect("pets", &o, LAY_FOLDERS, 6, 3, "cat dog with blank");
    put_images("pets/test/cat", 1);
    refuse("pets", &o, "--test NAME says which");
    o.test = "Validation";
    expect("pets", &o, LAY_FOLDERS, 6, 3, "cat dog with blank");
    o.test = "missing";
    refuse("pets", &o, "pets/ has no folder missing (--test)");
}
/* Split folders of other names, and folders that look like classes and are none. */
static void test_odd_folders(void) {
    static const char *const moods[] = {"happy", "sad"}, *const people[] = {"happy/anna", "happy/ben", "sad/anna", "sad/ben"};
    lay_opts o = options("auto"), plain = options("folders");
    char path[64];
    int i;
    for (i = 1; i <= 7; ++i) {
        snprintf(path, sizeof path, "within/RAF_train/%d", i);
        put_images(path, 2);
        snprintf(path, sizeof path, "within/RAF_test/%d", i);
        put_images(path, 1);
        snprintf(path, sizeof path, "unknown/first/%d", i);
        put_images(path, 2);
        snprintf(path, sizeof path, "unknown/second/%d", i);
        put_images(path, 1);
    }
    expect("within", &o, LAY_FOLDERS, 14, 7, RAF);
    put_images("within/old-val/1", 1);
    refuse("within", &o, "RAF_test, old-val could each be the test set");
    o.test = "old-va";
    refuse("within", &o, "has no folder old-va (--test)");
    o.test = "within/old-val";
    refuse("within", &o, "has no folder within/old-val (--test); there are RAF_test, old-val");
    o.test = "RAF_test";
    expect("within", &o, LAY_FOLDERS, 14, 7, RAF);
    o.test = NULL;
    put_split_folders("whole", "test", moods, 2);
    put_images("whole/old_train/happy", 1); /* train and test are there by their whole names */
    put_images("whole/my test/happy", 1);
    expect("whole", &o, LAY_FOLDERS, 4, 2, "Happiness Sadness");
    put_images("whole/more/happy", 1);
    put_images("whole/more/sad", 1);
    expect("whole", &o, LAY_FOLDERS, 4, 2, "Happiness Sadness");
    expect_note("whole", &o, "beside the split folders, more is left out");
    put_images("untold/train/happy", 1);
    put_images("untold/train/sad", 1);
    put_images("untold/rest/happy", 1);
    put_images("untold/rest/sad", 1);
    expect_note("untold", &o, "beside the split folders, rest is left out: --test NAME takes a folder to test on");
    o.test = "rest";
    expect("untold", &o, LAY_FOLDERS, 2, 2, "Happiness Sadness");
    o.test = NULL;
    put_images("things/cat", 2);
    put_images("things/crash test", 2);
    expect("things", &o, LAY_FOLDERS, 4, 0, "cat crash test");
    o.test = "cats";
    refuse("things", &o, "has no folder cats (--test)");
    o.test = NULL;
    refuse("unknown", &o, "first and second hold no images, but folders of the same names: rename them to train and test");
    expect("unknown", &plain, LAY_FOLDERS, 21, 0, "first second");
    expect("unknown/first", &plain, LAY_FOLDERS, 14, 0, "1 2 3 4 5 6 7");
    for (i = 0; i < 4; ++i) {
        snprintf(path, sizeof path, "people/%s", people[i]);
        put_images(path, 1);
    }
    expect("people", &o, LAY_FOLDERS, 4, 0, "Happiness Sadness");
    put_images("pictures/basic/Image/aligned", 2);
    put_images("pictures/basic/Image/original", 2);
    refuse("pictures", &o, "pictures/basic/Image/aligned: RAF-DB's pictures, and no class: name the folder that holds EmoLabel");
    put("pictures/basic/EmoLabel/readme", NULL);
    refuse("pictures", &o, "pictures/basic/EmoLabel: RAF-DB's list of labels is missing in it: list_patition_label.txt");
}
static void test_every(void) {
    lay_opts o = options("auto");
    lay_set s;
    size_t i;
    int k;
    char path[64];
    for (k = 0; k < 10; ++k) {
        snprintf(path, sizeof path, "ten/%d", k);
        put_images(path, 7);
    }
    put("ten/LICENSE", "text");
    put("ten/MANIFEST.tsv", "file\tbytes\n0/0.jpg\t1\n");
    expect("ten", &o, LAY_FOLDERS, 70, 0, "0 1 2 3 4 5 6 7 8 9");
    o.every = 3;
    expect("ten", &o, LAY_FOLDERS, 50, 20, "0 1 2 3 4 5 6 7 8 9");
    CHECK(scan(&s, "ten", &o) == 0);
    for (i = 0; i < s.count; ++i) { /* files 0..6 by name: the 3rd and 6th are 2.jpg and 5.jpg */
        const char *name = strrchr(s.samples[i].path, '/') + 1;
        CHECK((s.samples[i].split == ZN_SPLIT_TEST) == (strcmp(name, "2.jpg") == 0 || strcmp(name, "5.jpg") == 0));
    }
    lay_free(&s);
    refuse("f17", &o, "has its own test split");
    for (k = 1; k <= 7; ++k) {
        snprintf(path, sizeof path, "trainonly/train/%d", k);
        put_images(path, 3);
    }
    expect("trainonly", &o, LAY_FOLDERS, 14, 7, RAF);
    o.every = 4;
    expect_note("trainonly", &o, "no class has as many images");
    o.every = 0;
    expect_note("trainonly", &o, "there is no test split: --every N makes one");
    o.every = 1;
    refuse("ten", &o, "no images to train on");
}
/* With RAF-DB's own counts the numbers of folders explain themselves, whatever they are. */
static void test_counts(void) {
    static const int order[7] = {6, 3, 4, 0, 1, 5, 2};
    lay_set s;
    int k;
    long i;
    memset(&s, 0, sizeof s);
    s.opts = options("auto");
    s.kind = LAY_FOLDERS;
    s.has_splits = 1;
    for (k = 0; k < 7; ++k) {
        char key[16];
        snprintf(key, sizeof key, "%02d", k);
        for (i = 0; i < lay_raf_counts[0][order[k]] + lay_raf_counts[1][order[k]]; ++i)
            CHECK(lay_add(&s, "x.jpg", key, i < lay_raf_counts[0][order[k]] ? ZN_SPLIT_TRAIN : ZN_SPLIT_TEST) != NULL);
    }
    s.key_class = (int *)counted_malloc(7 * sizeof *s.key_class);
    for (k = 0; k < 7; ++k) s.key_class[k] = -1;
    CHECK(s.count == 15339 && lay_name_classes(&s) == 0);
    for (k = 0; k < 7; ++k) CHECK(strcmp(s.names.items[s.key_class[k]], lay_expressions[order[k]]) == 0);
    lay_free(&s);
}

static const char raf_list[] = "train_00001.jpg 1\ntrain_00002.jpg 2\ntrain_00003.jpg 3\ntrain_00004.jpg 4\ntrain_00005.jpg 5\ntrain_00006.jpg 6\r\ntrain_00007.jpg 7\n\ntest_0001.jpg 7\n";
static void put_raf(const char *base, const char *list) {
    char path[300];
    int i;
    for (i = 1; i <= 7; ++i) {
        snprintf(path, sizeof path, "%s/Image/aligned/train_%05d_aligned.jpg", base, i);
        put(path, NULL);
    }
    snprintf(path, sizeof path, "%s/Image/aligned/test_0001_aligned.jpg", base);
    put(path, NULL);
    snprintf(path, sizeof path, "%s/EmoLabel/list_patition_label.txt", base);
    put(path, list);
}
static void test_raf(void) {
    lay_opts o = options("auto");
    lay_set s;
    put_raf("raf/basic", raf_list);
    expect("raf", &o, LAY_RAF, 7, 1, RAF);
    expect("raf/basic", &o, LAY_RAF, 7, 1, RAF);
    put_raf("spelled/basic", NULL);
    remove_below("spelled/basic/EmoLabel/list_patition_label.txt");
    put("spelled/basic/EmoLabel/list_partition_label.txt", raf_list);
    expect("spelled", &o, LAY_RAF, 7, 1, RAF);
    put_raf("deep/a/raf-basic", raf_list);
    expect("deep", &o, LAY_RAF, 7, 1, RAF);
    put("raf/basic/Image/aligned/extra_aligned.jpg", NULL);
    CHECK(scan(&s, "raf", &o) == 0 && s.notes.count > 0);
    CHECK_HOLDS(s.notes.count > 0 ? s.notes.items[0] : "", "1 images in basic/Image/aligned/ are not in the list");
    lay_free(&s);
    o.images = "original";
    refuse("raf", &o, "which folder in Image");
    o.images = NULL;
    o.classes = 8;
    refuse("raf", &o, "7 classes here, not 8");
    o.classes = 0;
    put_raf("compound/basic", "train_00001.jpg 1\ntrain_00002.jpg 11\n");
    refuse("compound", &o, "compound set");
    put_raf("zero/basic", "train_00001.jpg 0\n");
    refuse("zero", &o, "labels are 1 to 7; if they are in its order and begin at 0 here, --labels raf --base 0");
    put_raf("zero/basic", "train_00001.jpg 0\ntrain_00002.jpg 1\n");
    o.labels = "raf";
    o.base = 0;
    expect("zero", &o, LAY_RAF, 2, 0, "Surprise Fear");
    o = options("auto");
    put_raf("word/basic", "train_00001.jpg happy\n");
    refuse("word", &o, "line 1: not of the form");
    put_raf("again/basic", "train_00001.jpg 1\ntrain_00002.jpg 2\ntrain_00002.jpg 2\n");
    expect_note("again", &o, "1 lines name an image that another line names already");
    put_raf("other/basic", "train_00001.jpg 1\nface_1.jpg 2\n");
    refuse("other", &o, "line 2: the name begins neither");
    put_raf("gone/basic", "train_00001.jpg 1\ntrain_00002.jpg 2\ntrain_00099.jpg 2\n");
    CHECK(scan(&s, "gone", &o) == 0 && s.problems.count == 1 && s.count == 2);
    lay_free(&s);
    put("zip/basic/EmoLabel/list_patition_label.txt", raf_list);
    put("zip/basic/Image/aligned.zip", "PK");
    refuse("zip", &o, "unpack it");
    put_raf("twice/basic", raf_list);
    put_raf("twice/raf-basic", raf_list);
    refuse("twice", &o, "two RAF-DB sets");
}

/* Images elsewhere than expected, and lists named directly. */
static void test_places(void) {
    lay_opts o = options("auto"), list = options("list");
    lay_set s;
    char name[1024], here[1024];
    const char *rows = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression\n1/a.jpg,1,1,2,2,,0\n1/b.jpg,1,1,2,2,,3\n";
    int i;
    expect("raf/basic/EmoLabel/list_patition_label.txt", &o, LAY_RAF, 7, 1, RAF);
    list.labels = "raf";
    refuse("raf/basic/EmoLabel/list_patition_label.txt", &list, "no images; the first that is missing");
    if (getcwd(here, sizeof here) != NULL) {
        snprintf(name, sizeof name, "%s/raf/basic", top);
        CHECK(chdir(name) == 0 && lay_scan(&s, "EmoLabel/list_patition_label.txt", &o) == 0 && s.count == 8);
        lay_free(&s);
        CHECK(chdir("EmoLabel") == 0 && lay_scan(&s, "list_patition_label.txt", &o) == 0 && s.count == 8);
        lay_free(&s);
        CHECK(chdir(here) == 0);
    }
    put("nested/EmoLabel/list_patition_label.txt", raf_list);
    for (i = 1; i <= 7; ++i) {
        snprintf(name, sizeof name, "nested/Image/aligned/aligned/train_%05d_aligned.JPG", i);
        put(name, NULL);
    }
    put("nested/Image/aligned/aligned/test_0001_aligned.jpg", NULL);
    expect("nested", &o, LAY_RAF, 7, 1, RAF);

    put("manual/Manually_Annotated_file_lists/training.csv", rows);
    put("manual/Manually_Annotated_file_lists/validation.csv", rows);
    put("manual/Manually_Annotated/Manually_Annotated_Images/1/a.jpg", NULL);
    put("manual/Manually_Annotated/Manually_Annotated_Images/1/b.JPG", NULL);
    expect("manual", &o, LAY_BOXES, 2, 2, "Neutral Surprise");
    expect("manual/Manually_Annotated_file_lists/training.csv", &o, LAY_BOXES, 2, 0, "Neutral Surprise");

    put("beside/labels.csv", "image,label\na.JPG,cat\nb.JPG,dog\nc.jpg,dog\n");
    put("beside/all/a.jpg", NULL);
    put("beside/all/b.JPG", NULL);
    expect("beside", &o, LAY_CSV, 2, 0, "cat dog");
    expect_note("beside", &o, "1 listed images are not there; one place to look was ");
    remove_below("beside/all");
    refuse("beside", &o, "no images; the first that is missing: a.JPG: listed, but there is no such file; 3 listed");
    refuse("beside", &o, "/beside/: --images DIR, below SRC or absolute, says where they are");
    put("beside/elsewhere/a.jpg", NULL);
    put("beside/elsewhere/b.jpg", NULL);
    o.images = "elsewhere";
    expect("beside", &o, LAY_CSV, 2, 0, "cat dog");
    put("beside/labels.csv", "image,label,split\na.jpg,cat,train\nb.jpg,dog,test\nd.jpg,dog,train\n");
    refuse("beside", &o, "class dog has no images to train on: add some, or remove the class; 1 listed images are not there; one place to look was ");
}

static void test_affectnet(void) {
    lay_opts o = options("auto"), list = options("affectnet");
    lay_set s;
    char name[64];
    int i;
    const char *rows = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
                       "1/a.jpg,10,20,30,40,\"1.5;2;3.25\",0,0.1,-0.2\n1/b.jpg,0,0,5,5,\"1\",3,0,0\n1/none.jpg,-1,-1,-1,-1,\"\",10,-2,-2\n1/c.jpg,1,1,-4,4,\"\",3,0,0\n1/d.jpg,1,1,4,4,,9,0,0\n";
    for (i = 0; i < 12; ++i) {
        unsigned char label = (unsigned char)(i % 11);
        snprintf(name, sizeof name, "a21/train_set/images/%d.jpg", i);
        put(name, NULL);
        snprintf(name, sizeof name, "a21/train_set/annotations/%d_exp.npy", i);
        put_npy(name, "|u1", "()", &label, 1, 1);
    }
    put("a21/val_set/images/5.jpg", NULL);
    put_npy("a21/val_set/annotations/5_exp.npy", "|S1", "()", "3", 1, 1);
    expect("a21", &o, LAY_NPY, 9, 1, AFFECT8);
    o.classes = 7;
    expect("a21", &o, LAY_NPY, 8, 1, AFFECT7);
    o.classes = 0;
    put("a21/val_set/images/6.jpg", NULL);
    CHECK(scan(&s, "a21", &o) == 0 && s.problems.count == 1 && s.dropped == 3);
    CHECK_HOLDS(s.problems.count > 0 ? s.problems.items[0] : "", "6_exp.npy");
    lay_free(&s);
    put_npy("a21/val_set/annotations/6_exp.npy", "<i4", "()", "\x0b\0\0\0", 4, 1);
    refuse("a21", &o, "expression 11");

    put("a17/training.csv", rows);
    put("a17/validation.csv", strchr(rows, '\n') + 1); /* without header */
    for (i = 0; i < 4; ++i) {
        snprintf(name, sizeof name, "a17/Manually_Annotated_Images/1/%c.jpg", "abcd"[i]);
        put(name, NULL);
    }
    expect("a17", &o, LAY_BOXES, 2, 2, "Neutral Surprise");
    expect("a17/training.csv", &o, LAY_BOXES, 2, 0, "Neutral Surprise");
    CHECK(scan(&s, "a17", &o) == 0 && s.dropped == 6);
    CHECK(s.count > 0 && s.samples[0].x == 10 && s.samples[0].y == 20 && s.samples[0].width == 30 && s.samples[0].height == 40);
    lay_free(&s);
    put("a17/training.csv", "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression\n1/a.jpg,1,1,wide,2,\"\",3\n");
    refuse("a17", &o, "line 2: the face's box is not four numbers");
    put("a17/training.csv", "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression\n1/a.jpg,1,1,2,2,\"1;2,3\n");
    refuse("a17", &o, "a quoted field does not end");

    put("acsv/train.csv", "number,exp,val,aro\n0,1,0.5,0.5\n1,2,0,0\n2,8,0,0\n");
    put("acsv/val.csv", "\xef\xbb\xbfnumber,exp,val,aro\r\n0,1,0.5,0.5\r\n");
    put("acsv/train/0.jpg", NULL);
    put("acsv/train/1.png", NULL);
    put("acsv/val/0.jpg", NULL);
    expect("acsv", &list, LAY_NUMBERS, 2, 1, "Happiness Sadness");
    put("acsv/extra.csv", "number,exp,val,aro\n0,1,0.5,0.5\n");
    refuse("acsv", &o, "neither train nor test");
}

static void test_csv_and_lists(void) {
    lay_opts o = options("auto"), csv = options("csv"), list = options("list");
    put_images("kaggle/DATASET/train/1", 0);
    {
        char path[64];
        int i;
        for (i = 1; i <= 7; ++i) {
            snprintf(path, sizeof path, "kaggle/DATASET/train/%d/train_%05d_aligned.jpg", i, i);
            put(path, NULL);
            snprintf(path, sizeof path, "kaggle/DATASET/test/%d/test_%04d_aligned.jpg", i, i);
            put(path, NULL);
        }
    }
    put("kaggle/train_labels.csv", "image,label\ntrain_00001_aligned.jpg,1\ntrain_00002_aligned.jpg,2\n\"train_00003_aligned.jpg\",3\ntrain_00004_aligned.jpg,4\n"
                                   "train_00005_aligned.jpg,5\ntrain_00006_aligned.jpg,6\ntrain_00007_aligned.jpg,7\n");
    put("kaggle/test_labels.csv", "image,label\ntest_0001_aligned.jpg,1\n");
    expect("kaggle", &o, LAY_FOLDERS, 7, 7, RAF);
    expect("kaggle", &csv, LAY_CSV, 7, 1, RAF);
    put("kaggle/test_labels.csv", "image,label\ntest_0001_aligned.jpg,2\n");
    refuse("kaggle", &o, "--layout folders or --layout csv");

    put_images("alike/anger", 2);
    put_images("alike/happy", 2);
    put_images("alike/sad", 2);
    put("alike/labels.csv", "pth,label\nanger/0.jpg,anger\nsad/0.jpg,sad\n./happy/0.jpg,happy\n/elsewhere/faces/sad/1.jpg,sad\n1.jpg,happy\nfaces/0.jpg,anger\n");
    expect("alike", &o, LAY_FOLDERS, 6, 0, "Anger Happiness Sadness");
    expect_note("alike", &o, "agrees with the folders on 6 images");
    put("alike/labels.csv", "pth,label\nanger/0.jpg,anger\nfaces/sad/0.jpg,anger\n");
    refuse("alike", &o, "line 3: sad/0.jpg has label anger, but lies in folder sad");
    put("alike/labels.csv", "pth,label\n0.jpg,fear\n");
    refuse("alike", &o, "0.jpg has label fear, but lies in folder");

    put_images("list/pictures", 6);
    put("list/train.txt", "pictures/0.jpg 0\npictures/1.jpg\t1\npictures/2.jpg 2\n");
    put("list/test.txt", "pictures/3.jpg 0\n");
    refuse("list", &o, "--labels affectnet");
    o.labels = "x,y,z";
    expect("list", &o, LAY_LIST, 3, 1, "x y z");
    o.labels = " x ,y,\t z";
    expect("list", &o, LAY_LIST, 3, 1, "x y z");
    o.labels = "x, ,z";
    refuse("list", &o, "a name is empty");
    put("list/train.txt", "pictures/0.jpg 0\npictures/1.jpg\t1\npictures/2.jpg 2\npictures/1.jpg 1\n");
    o.labels = "x,y,z";
    expect("list", &o, LAY_LIST, 4, 1, "x y z");
    expect_note("list", &o, "1 lines name an image that another line names already, and count again, among them pictures/1.jpg");
    put("list/train.txt", "pictures/0.jpg 0\npictures/1.jpg\t1\npictures/2.jpg 2\n");
    put("commas.txt", "pictures/0.jpg,0\n");
    refuse("commas.txt", &o, "line 1 has commas where a list has blanks: give the file a name that ends in .csv");
    o.labels = "w,x,y,z";
    expect("list", &o, LAY_LIST, 3, 1, "w x y");
    o = options("auto");
    put("words/all.txt", "0.jpg cat train\n1.jpg dog train\n2.jpg cat test\n");
    put_images("words", 3);
    expect("words", &o, LAY_LIST, 2, 1, "cat dog");
    put("words/all.txt", "0.jpg 3 7\n1.jpg 4 7\n");
    refuse("words", &list, "--fields path,label,-");
    list.fields = "path,-,label";
    list.labels = "raf";
    refuse("words", &list, "one class only");
    list.fields = "path,label,-";
    expect("words", &list, LAY_LIST, 2, 0, "Disgust Happiness");
    list.labels = "a,b,c,d,e";
    refuse("words", &list, "--base 0 or --base 1");
    list.base = 1;
    expect("words", &list, LAY_LIST, 2, 0, "c d");
    list.fields = "path,what";
    refuse("words", &list, "--fields");
    put("words/all.txt", "0.jpg 3\n1.jpg\n");
    list.fields = NULL;
    refuse("words", &list, "line 2 has 1 fields, not 2");
    put_bytes("words/all.txt", "0.jpg 3\n1\0.jpg 4\n", 18);
    refuse("words/all.txt", &list, "a byte 0");
    put("words/all.txt", "");
    refuse("words/all.txt", &list, "empty");
    put("far/list.csv", "path,label,split\nwords/0.jpg,\"a,\"\"b\"\"\",train\nwords/1.jpg,c,train\nwords/2.jpg,c,val\n");
    csv.images = "..";
    expect("far", &csv, LAY_CSV, 2, 1, "a,\"b\" c");
}

/* Several list files: none of them is overlooked because it is written in another way. */
static void test_list_files(void) {
    lay_opts o = options("auto");
    put_images("heading", 4);
    put("heading/train.txt", "0.jpg cat\n1.jpg dog\n");
    put("heading/test.txt", "path label\n2.jpg cat\n3.jpg dog\n");
    expect("heading", &o, LAY_LIST, 2, 2, "cat dog");
    expect_note("heading", &o, "test.txt: the first line is a heading");
    put("heading/test.txt", "two words\nand more of them\n");
    refuse("heading", &o, "heading/test.txt: line 1: it cannot be read as train.txt is; wanted are lines of PATH LABEL, a blank between: correct the file, or move it away");
    put("heading/test.txt", "");
    refuse("heading", &o, "heading/test.txt: line 1");
    remove_below("heading/test.txt");
    put("heading/labels_eval.txt", "2.jpg cat\n3.jpg dog\n");
    expect("heading", &o, LAY_LIST, 2, 2, "cat dog");
    put("heading/README.txt", "what this is\n");
    expect("heading", &o, LAY_LIST, 2, 2, "cat dog");

    put_images("semicolon", 4);
    put("semicolon/train_labels.csv", "image , \tlabel\n 0.jpg, cat \n\"1.jpg\" , \"dog\"\n");
    put("semicolon/test_labels.csv", "image,label\n2.jpg,cat\n3.jpg,dog\n");
    expect("semicolon", &o, LAY_CSV, 2, 2, "cat dog");
    put("semicolon/test_labels.csv", "image;label\n2.jpg;cat\n3.jpg;dog\n");
    refuse("semicolon", &o, "semicolon/test_labels.csv: line 1: it cannot be read as train_labels.csv is; wanted are columns image and label, commas between");
    put("expr/training.csv", "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression\n0.jpg,1,1,2,2,,3\n1.jpg,1,1,2,2,,4\n");
    put("expr/validation.csv", "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expr\n2.jpg,1,1,2,2,,3\n");
    put_images("expr/Manually_Annotated_Images", 3);
    refuse("expr", &o, "expr/validation.csv: line 1: it cannot be read as training.csv is; wanted are columns subDirectory_filePath and expression");
    expect("expr/training.csv", &o, LAY_BOXES, 2, 0, "Surprise Fear");
}

static void test_refusals(void) {
    lay_opts o = options("auto");
    put_images("onlyimages", 3);
    refuse("onlyimages", &o, "3 images, no list of labels");
    put_images("oneclass/cat", 3);
    refuse("oneclass", &o, "one class alone");
    put_images("oneclass/dog", 0);
    put("emptyclass/a/x.jpg", NULL);
    put("emptyclass/b/readme", NULL);
    refuse("emptyclass", &o, "class b has no images to train on");
    put("notrain/train/a/x.jpg", NULL);
    put("notrain/train/b/x.jpg", NULL);
    put("notrain/test/a/x.jpg", NULL);
    put("notrain/test/c/x.jpg", NULL);
    refuse("notrain", &o, "class c has no images to train on");
    refuse("nothere", &o, "No such file");
    put_images("two/train/a", 1);
    put_images("two/train/b", 1);
    put("two/list.txt", "train/a/0.jpg 1\n");
    refuse("two", &o, "--layout list or --layout folders");
    put("plain.txt", "no list at all, only words\n");
    refuse("plain.txt", &o, "fields");
}

static void test_npy(void) {
    static const struct {
        const char *type, *shape, *data;
        size_t size;
        int version;
        double want; /* -999: refused */
    } rows[] = {
        {"<i8", "()", "\5\0\0\0\0\0\0\0", 8, 1, 5}, {">i8", "()", "\0\0\0\0\0\0\0\7", 8, 1, 7}, {"<i4", "(1,)", "\377\377\377\377", 4, 1, -1},
        {"|i1", "(1, 1)", "\200", 1, 2, -128}, {"<u2", "()", "\1\1", 2, 3, 257}, {">f4", "()", "\100\100\0\0", 4, 1, 3}, {"<f8", "()", "\0\0\0\0\0\0\20\100", 8, 1, 4},
        {"<f2", "()", "\0\105", 2, 1, 5}, {"<U1", "()", "6\0\0\0", 4, 1, 6}, {">U2", "()", "\0\0\0\061\0\0\0\060", 8, 1, 10}, {"|S3", "()", "7.0", 3, 1, 7},
        {"|b1", "()", "\1", 1, 1, 1}, {"<U1", "()", "x\0\0\0", 4, 1, -999}, {"|O", "()", "\200\3K\5.", 5, 1, -999}, {"<i8", "(2,)", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 1, -999},
        {"<i8", "(10,)", "\0\0\0\0\0\0\0\0", 8, 1, -999}, {"<i8", "()", "\0\0\0", 3, 1, -999}, {"<c16", "()", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 1, -999},
        {"<f1", "()", "\0", 1, 1, -999}, {"<i3", "()", "\0\0\0", 3, 1, -999}};
    char path[600];
    unsigned char bytes[4096], cut[4096];
    size_t i, n, size;
    for (i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        double got = -999;
        FILE *file;
        const char *fault;
        put_npy("scalar.npy", rows[i].type, rows[i].shape, rows[i].data, rows[i].size, rows[i].version);
        snprintf(path, sizeof path, "%s/scalar.npy", top);
        file = fopen(path, "rb");
        size = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
        if (file != NULL) fclose(file);
        fault = lay_npy_scalar(bytes, size, &got);
        if (rows[i].want <= -999) CHECK_FOR(fault != NULL, rows[i].type);
        else CHECK_FOR(fault == NULL && got >= rows[i].want && got <= rows[i].want, rows[i].type);
        for (n = 0; n + 1 < size; ++n) { /* a copy of its own, so that a sanitizer sees reads behind it */
            unsigned char *part = (unsigned char *)malloc(n + 1);
            if (part == NULL) break;
            memcpy(part, bytes, n);
            if (rows[i].want > -999 && rows[i].data[0] != '7') CHECK_FOR(lay_npy_scalar(part, n, &got) != NULL, rows[i].type);
            free(part);
        }
        memcpy(cut, bytes, size);
    }
    CHECK(lay_npy_scalar(cut, 0, NULL) != NULL);
}

/* Lists with random bytes changed: whatever comes out, nothing crashes, leaks or loops. */
static void test_damaged(long rounds) {
    static const char *const files[] = {"fuzz/training.csv", "fuzz/train.txt", "fuzz/basic/EmoLabel/list_patition_label.txt", "fuzz/train_set/annotations/0_exp.npy"};
    static const char special[] = "\",\n\r 0-9.\0'()<>|\\;";
    const char *texts[4];
    size_t sizes[4];
    char npy[160], text[700];
    zn_rng rng = zn_rng_seed(5);
    lay_opts o;
    long before = outstanding;
    memset(npy, ' ', sizeof npy);
    memcpy(npy, "\x93NUMPY\x01\x00\x46\x00{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }", 67);
    memcpy(npy + 80, "7\0\0\0\0\0\0\0", 8);
    texts[0] = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n1/a.jpg,10,20,30,40,\"1.5;2;3.25\",0,0.1,-0.2\n1/b.jpg,0,0,5,5,\"1\",3,0,0\n";
    texts[1] = "pictures/0.jpg 0\npictures/1.jpg 1\n";
    texts[2] = raf_list;
    texts[3] = npy;
    sizes[0] = strlen(texts[0]);
    sizes[1] = strlen(texts[1]);
    sizes[2] = strlen(texts[2]);
    sizes[3] = 88;
    put_images("fuzz/pictures", 2);
    put("fuzz/1/a.jpg", NULL);
    put("fuzz/1/b.jpg", NULL);
    put("fuzz/train_set/images/0.jpg", NULL);
    put_images("fuzz/basic/Image/aligned", 1);
    while (rounds-- > 0) {
        static const char *const layouts[] = {"affectnet", "list", "raf", "affectnet"};
        int which = (int)zn_rng_below(&rng, 4), edits = 1 + (int)zn_rng_below(&rng, 4);
        lay_set s;
        size_t size = sizes[which];
        memcpy(text, texts[which], size);
        while (edits-- > 0) {
            size_t at = (size_t)zn_rng_below(&rng, size);
            if (zn_rng_below(&rng, 8) == 0) size = at + 1;
            else text[at] = zn_rng_below(&rng, 2) == 0 ? (char)zn_rng_next(&rng) : special[zn_rng_below(&rng, sizeof special)];
        }
        put_bytes(files[which], text, size);
        o = options(layouts[which]);
        if (which == 3) { /* one layout at a time */
            char other[600];
            snprintf(other, sizeof other, "%s/%s", top, files[0]);
            remove(other);
        }
        (void)scan(&s, which < 2 ? files[which] : "fuzz", &o);
        lay_free(&s);
    }
    CHECK(outstanding == before);
}
static void test_memory(const char *name, const lay_opts *o) {
    long before = outstanding, n;
    int status = -1;
    for (n = 1; n < 2000 && status != 0; ++n) {
        lay_set s;
        calls = 0;
        fail_at = n;
        status = scan(&s, name, o);
        fail_at = 0;
        CHECK_FOR(status == 0 || s.error[0] != '\0', name);
        lay_free(&s);
        CHECK_FOR(outstanding == before, name);
    }
    CHECK_FOR(status == 0 && n > 5, name);
}

int main(int argc, char **argv) {
    lay_opts o = options("auto");
    snprintf(top, sizeof top, "%.400s.tmp", argv[0]);
    remove_tree(top);
    mkdir(top, 0777);
    test_npy();
    test_folders();
    test_odd_folders();
    test_every();
    test_counts();
    test_raf();
    test_places();
    test_affectnet();
    test_csv_and_lists();
    test_list_files();
    test_refusals();
    test_damaged(argc > 1 ? atol(argv[1]) : 1000);
    test_memory("f17", &o);
    test_memory("raf", &o);
    o.labels = "x,y,z";
    test_memory("list", &o);
    o.labels = NULL;
    put_npy("a21/val_set/annotations/6_exp.npy", "<i4", "()", "\1\0\0\0", 4, 1);
    test_memory("a21", &o);
    put("kaggle/test_labels.csv", "image,label\ntest_0001_aligned.jpg,1\n");
    test_memory("kaggle", &o);
    put_split_folders("odd", "my test", digits + 1, 7);
    test_memory("odd", &o);
    remove_tree(top);
    return check_done();
}
