// Types to show bytes by. A variable of each keeps it in the BTF.
#include <linux/types.h>

#include <stdbool.h>

struct integers {
  __u8 u8;
  __s8 s8;
  __u16 u16;
  __s16 s16;
  __u32 u32;
  __s32 s32;
  __u64 u64;
  __s64 s64;
  bool yes;
  bool no;
};

struct point {
  int x;
  int y;
};

struct nested {
  struct point from;
  const volatile struct point to;
  struct {
    __u32 first;
    union {
      __u32 second;
      __u16 halves[2];
    };
  };
  struct {
    __u32 inside;
  } named;
};

struct bits {
  __u32 low : 3;
  __s32 signed_five : 5;
  __u32 middle : 20;
  bool flag : 1;
  __u64 wide : 40;
  __u32 whole;
};

enum color { RED, GREEN = 5, BLUE = 4000000000 };
enum level { BELOW = -2, GROUND, ABOVE };
enum huge { SMALL = 1, LARGE = 0x123456789abcdef0 };
enum deep { ABYSS = -0x123456789abcdef0 };

struct enums {
  enum color color;
  enum level level;
  enum huge huge;
  enum deep deep;
  enum color unknown;
  enum level bits : 4;
};

struct arrays {
  __u16 grid[2][3];
  struct point points[2];
  __u8 mac[6];
  unsigned char bytes[2];
  int none[0];
};

typedef char tag_t[4];

struct texts {
  char name[8];
  tag_t tag;
  char binary[4];
  const char rest[4];
  char grid[2][2];
  signed char numbers[2];
};

struct pointers {
  void* any;
  struct point* typed;
  int (*function)(int);
};

union either {
  __u32 number;
  __u8 bytes[4];
};

struct floats {
  float single;
  double twice;
};

typedef __u32 id_t_of_ours;
typedef const volatile id_t_of_ours qualified_id;

struct integers integers = {1};
struct nested nested = {{1}};
struct bits bits = {1};
struct enums enums = {1};
struct arrays arrays = {{{1}}};
struct texts texts = {"a"};
struct pointers pointers = {0};
union either either = {1};
struct floats floats = {1};
qualified_id id = 1;
__int128 wide = 1;
bool flag = true;
enum color color = RED;
__u8 mac[6] = {1};
char comm[16] = "a";
