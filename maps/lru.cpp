#include "maps/lru_impl.hpp"

namespace skep::maps {

template class BasicLruList<HostAtomics>;
template class BasicLru<HostAtomics>;

}  // namespace skep::maps
