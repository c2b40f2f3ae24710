#include "maps/element_pool_impl.hpp"

namespace skep::maps {

template class BasicElementPool<HostAtomics>;

}  // namespace skep::maps
