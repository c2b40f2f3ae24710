#include "maps/hash_table_impl.hpp"

namespace skep::maps {

template class BasicHashTable<HostAtomics>;

}  // namespace skep::maps
